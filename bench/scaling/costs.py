"""Ratios: what several workers bring, and what it costs that any of them may be reached."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, median

from bench.flooding.wire import UPGRADE, Http, connect, frame, get, post
from bench.load import Load, Measured, build, run
from bench.processes import cpu, family, held
from bench.scaling.gateway import gateway, pids

__all__ = ["Balance", "Handed", "Memory", "Rate", "balance", "handed", "memory", "rate"]

TAG = 5
"""Characters of a session's id that name its worker."""

AT_ONCE = 20
"""Requests that are under way at a time while CPU time is measured."""

TRIES = 1000
"""Connections in which two workers have to be reached."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Calls that are answered in a second; microseconds of CPU for each, of gateway and load.

    `apart` says that the gateway had the first core, whatever its workers, and the load the last.
    """

    workers: int
    apart: bool
    calls: float
    gateway_us: float
    load_us: float


@dataclass(frozen=True, slots=True)
class Handed:
    """Requests of a kind that reach their own worker, and another one.

    Microseconds: the median time until the answer to one at a time, and the mean CPU time of the
    gateway with `AT_ONCE` of them: one alone pays for processes that fall asleep and wake up.
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


async def rate(workers: int, apart: bool, seconds: float, folder: Path) -> Rate:
    """Let 200 WebSockets call as fast as they are answered; the load has the last core.

    With `apart` all workers have the first one, so that none of them shares with the load.
    """
    build()
    load = Load("loop", clients=200, inflight=4, event="ask", ack=True)
    async with gateway(folder, workers) as (daemon, port):
        if apart:
            for pid in family(daemon.pid):
                os.sched_setaffinity(pid, {min(os.sched_getaffinity(0))})
        measured = await asyncio.to_thread(_run, load, port, family(daemon.pid), seconds)
    return Rate(
        workers,
        apart,
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
    takes, used = [], []
    with ExitStack() as stack:
        pairs = [stack.enter_context(_pair(port)) for _ in range(AT_ONCE)]
        own = [one for one, _ in pairs]
        other = [(http, sid) for (_, sid), (http, _) in pairs]
        assert set(_ask(own, lambda sid: post(sid, b"40"))) == {b"ok"}
        assert all(body.startswith(b"40") for body in _ask(own, get))
        for lines in (own, other):
            _call(lines)
            takes.append(median(_timed(partial(_call, lines[:1])) for _ in range(times)) * 1e6)
            before = cpu(processes)
            for _ in range(times // AT_ONCE):
                _call(lines)
            used.append((cpu(processes) - before) / (times // AT_ONCE * AT_ONCE) * 1e6)
    return Handed("acked call by polling", *takes, *used)


def _call(lines: Sequence[tuple[Http, str]]) -> None:
    _ask(lines, lambda sid: post(sid, b'420["ask",1]'))
    assert set(_ask(lines, get)) == {b"430[1]"}


def _ask(lines: Sequence[tuple[Http, str]], request: Callable[[str], bytes]) -> list[bytes]:
    """The bodies of the answers to a request on each of the connections."""
    for http, sid in lines:
        http.line.sendall(request(sid))
    return [http.hear().body for http, _ in lines]


def _upgrades(port: int, processes: list[int], times: int) -> Handed:
    """Upgrades of sessions that are new, with the probe."""
    takes: tuple[list[float], list[float]] = ([], [])
    used: tuple[list[float], list[float]] = ([], [])
    for number in range(2 * max(1, times // AT_ONCE)):
        is_other = bool(number % 2)
        with ExitStack() as stack:
            pairs = [stack.enter_context(_pair(port)) for _ in range(AT_ONCE + 1)]
            lines = [(other[0] if is_other else one[0], one[1]) for one, other in pairs]
            takes[is_other].append(_timed(partial(_upgrade, lines[:1])))
            before = cpu(processes)
            _upgrade(lines[1:])
            used[is_other].append(cpu(processes) - before)
    own, other = (median(each) * 1e6 for each in takes)
    own_cpu, other_cpu = (fmean(each) / AT_ONCE * 1e6 for each in used)
    return Handed("upgrade with its probe", own, other, own_cpu, other_cpu)


def _upgrade(lines: Sequence[tuple[Http, str]]) -> None:
    for http, sid in lines:
        request = UPGRADE.replace(b"websocket HTTP", f"websocket&sid={sid} HTTP".encode())
        http.line.sendall(request + frame(b"2probe"))
    for http, _ in lines:
        read = b""
        while not read.endswith(b"3probe"):
            data = http.line.recv(2**16)
            if not data:
                raise ConnectionResetError("no upgrade")
            read += data


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


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
