"""Ratios: what several workers bring, and what it costs that any of them may be reached."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.flooding.wire import UPGRADE, Http, connect, frame, get, post
from bench.load import Load, Measured, build, run
from bench.processes import cpu, family, held
from bench.scaling.gateway import gateway, pids

__all__ = ["Balance", "Handed", "Memory", "Rate", "balance", "handed", "memory", "rate"]

TAG = 5
"""Characters of a session's id that name its worker."""

TRIES = 1000
"""Connections in which two workers have to be reached."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Calls that are answered in a second; microseconds of CPU for each, of gateway and load."""

    workers: int
    calls: float
    gateway_us: float
    load_us: float


@dataclass(frozen=True, slots=True)
class Handed:
    """Requests of a kind that reach their own worker, and another one.

    Microseconds: the median time until the answer, and the mean CPU time of the gateway.
    """

    kind: str
    own: float
    other: float
    own_cpu: float
    other_cpu: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes without clients: what a worker has to itself, its share, and one process alone."""

    workers: int
    private: int
    pss: int
    alone: int
    all: int


@dataclass(frozen=True, slots=True)
class Balance:
    """How many of the connections each worker has."""

    workers: int
    connections: int
    sockets: list[int]


async def rate(workers: int, seconds: float, folder: Path) -> Rate:
    """Let 200 WebSockets call as fast as they are answered; the load has the last core."""
    build()
    load = Load("loop", clients=200, inflight=4, event="ask", ack=True)
    async with gateway(folder, workers) as (daemon, port):
        measured = await asyncio.to_thread(_run, load, port, family(daemon.pid), seconds)
    return Rate(
        workers,
        measured.messages / measured.seconds,
        measured.server_cpu / measured.messages * 1e6,
        measured.load_cpu / measured.messages * 1e6,
    )


def _run(load: Load, port: int, processes: list[int], seconds: float) -> Measured:
    return run(
        load,
        port,
        processes,
        protocol="4",
        core=max(os.sched_getaffinity(0)),
        warmup=1.5,
        seconds=seconds,
        limit=60,
        ready=lambda: None,
    )


async def handed(times: int, folder: Path) -> list[Handed]:
    """Compare requests that reach the session's worker with those that reach the other one."""
    async with gateway(folder, 2) as (daemon, port):
        processes = list((await pids(daemon)).values())

        def measure() -> list[Handed]:
            return [_polls(port, processes, times), _upgrades(port, processes, times)]

        return await asyncio.to_thread(measure)


def _polls(port: int, processes: list[int], times: int) -> Handed:
    """Calls by polling: a POST, and the poll that has its answer."""
    with _pair(port) as ((one, sid), (other, _)):

        def call(http: Http) -> Callable[[], object]:
            def ask() -> None:
                http.ask(post(sid, b'420["ask",1]'))
                answer = http.ask(get(sid))
                assert answer.body == b"430[1]", answer

            return ask

        assert one.ask(post(sid, b"40")).status == 200
        assert one.ask(get(sid)).body.startswith(b"40")
        for each in (one, other):
            _timed(call(each), processes, times // 10)
        own, own_cpu = _timed(call(one), processes, times)
        another, other_cpu = _timed(call(other), processes, times)
    return Handed("acked call by polling", own, another, own_cpu, other_cpu)


def _upgrades(port: int, processes: list[int], times: int) -> Handed:
    """Upgrades of sessions that are new, with the probe."""
    takes: dict[bool, list[float]] = {False: [], True: []}
    used = {False: 0.0, True: 0.0}
    for number in range(times):
        is_other = bool(number % 2)
        with _pair(port) as ((one, sid), (other, _)):
            http = other if is_other else one
            before, began = cpu(processes), time.perf_counter()
            _upgrade(http, sid)
            takes[is_other].append(time.perf_counter() - began)
            used[is_other] += cpu(processes) - before
    own, another = (median(takes[each]) * 1e6 for each in (False, True))
    own_cpu, other_cpu = (used[each] / len(takes[each]) * 1e6 for each in (False, True))
    return Handed("upgrade with its probe", own, another, own_cpu, other_cpu)


def _upgrade(http: Http, sid: str) -> None:
    request = UPGRADE.replace(b"websocket HTTP", f"websocket&sid={sid} HTTP".encode())
    http.line.sendall(request + frame(b"2probe"))
    read = b""
    while not read.endswith(b"3probe"):
        data = http.line.recv(2**16)
        if not data:
            raise ConnectionResetError("no upgrade")
        read += data


@contextmanager
def _pair(port: int) -> Iterator[tuple[tuple[Http, str], tuple[Http, str]]]:
    """Connections to two workers, each with a session of its worker."""
    with ExitStack() as stack:
        first = _opened(port, stack)
        for _ in range(TRIES):
            second = _opened(port, stack)
            if second[1][:TAG] != first[1][:TAG]:
                yield first, second
                return
        raise RuntimeError("no connection reaches another worker")


def _opened(port: int, stack: ExitStack) -> tuple[Http, str]:
    http = Http(port)
    stack.enter_context(closing(http.line))
    found = re.search(rb'"sid":"([^"]+)"', http.ask(get()).body)
    assert found
    return http, found[1].decode()


def _timed(work: Callable[[], object], processes: list[int], times: int) -> tuple[float, float]:
    """Microseconds that work takes in the median, and of CPU that processes use for it."""
    takes: list[float] = []
    before = cpu(processes)
    for _ in range(times):
        began = time.perf_counter()
        work()
        takes.append(time.perf_counter() - began)
    return median(takes) * 1e6, (cpu(processes) - before) / times * 1e6


async def memory(workers: int, folder: Path) -> Memory:
    """Read what idle workers hold, and an idle gateway of one process."""
    async with gateway(folder, 1) as (daemon, _):
        alone = held(daemon.pid)["pss"]
    async with gateway(folder, workers) as (daemon, _):
        each = [held(pid) for pid in (await pids(daemon)).values()]
        everything = daemon.memory()["pss"]
    return Memory(
        workers,
        int(median(one["private"] for one in each)),
        int(median(one["pss"] for one in each)),
        alone,
        everything,
    )


async def balance(workers: int, connections: int, folder: Path) -> Balance:
    """Open WebSockets, all at once, and see where they are."""
    async with gateway(folder, workers) as (daemon, port):
        sockets = Counter(await asyncio.to_thread(_connected, port, connections))
        tags = [each["tag"] for each in (await daemon.admin.status())["workers"]]
    return Balance(workers, connections, [sockets[tag] for tag in tags])


def _connected(port: int, count: int) -> list[str]:
    """The tags of sessions on WebSockets that are opened at once."""
    with ExitStack() as stack:
        lines = [stack.enter_context(closing(connect(port))) for _ in range(count)]
        for line in lines:
            line.sendall(UPGRADE)
        tags = []
        for line in lines:
            read = b""
            while not (found := re.search(rb'"sid":"([^"]+)"', read)):
                data = line.recv(2**16)
                if not data:
                    raise ConnectionResetError("refused")
                read += data
            tags.append(found[1].decode()[:TAG])
        return tags
