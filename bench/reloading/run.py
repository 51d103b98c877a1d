"""One run: a warm-up, a quiet time, the saves, a quiet time, and the counts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from time import perf_counter

from bench.reloading.cpu import Cpu, since
from bench.reloading.daemon import Daemon, Memory, running
from bench.reloading.edits import Edits, Save
from bench.reloading.traffic import Account, Socket, connect

__all__ = ["Plan", "Run", "run"]

PROBE = 0.005
"""Seconds between two packets of the one socket that samples latency."""

BATCH = 50


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a run. `every` and `quiet` are seconds; the `warm_up` saves do not count."""

    sockets: int
    saves: int
    every: float
    warm_up: int
    quiet: float
    workers: int = 1


@dataclass(slots=True)
class Run:
    """The measurements. Times are those of `perf_counter`, in seconds.

    `windows` are from each save to its verdict, `served` from each good save to the first answer
    of it. `misjudged` counts broken saves that were served, and good ones that were refused or
    not noticed. `skews` are the seconds between the first and the last worker's swap.
    """

    account: Account
    windows: list[tuple[float, float]] = field(default_factory=list)
    served: list[float] = field(default_factory=list)
    broken: int = 0
    misjudged: int = 0
    most_alive: int = 0
    alive: int = 0
    base: Memory = field(default_factory=dict)
    end: Memory = field(default_factory=dict)
    applied: list[int] = field(default_factory=list)
    skews: list[float] = field(default_factory=list)
    cpu: Cpu = field(default_factory=dict)


async def run(plan: Plan, folder: Path, cores: set[int]) -> Run:
    """Measure, with the daemon on `cores` and its files in `folder`."""
    edits = Edits(folder, workers=plan.workers)
    result = Run(Account(edits.states))
    async with running(edits.file, cores) as daemon:
        sockets = await _connect(plan, await daemon.listens(), result.account)
        saves = edits.saves()
        await _save(daemon, Run(result.account), islice(saves, plan.warm_up))
        await asyncio.sleep(plan.quiet)
        result.base, cpu = daemon.memory(), since(daemon.processes())
        daemon.applied.clear()
        await _save(daemon, result, islice(saves, plan.saves))
        result.applied, result.cpu = daemon.applied, since(daemon.processes(), cpu)
        await asyncio.sleep(plan.quiet)
        await _stop(sockets, result.account)
        result.alive = await _alive(daemon)
        result.end = daemon.memory()
        for socket in sockets:
            socket.close()
    return result


async def _connect(plan: Plan, url: str, account: Account) -> list[Socket]:
    sockets = [await connect(url, account, PROBE, ("say",))]
    while len(sockets) <= plan.sockets:
        count = min(BATCH, plan.sockets + 1 - len(sockets))
        sockets += await asyncio.gather(*(connect(url, account, plan.every) for _ in range(count)))
    for socket in sockets:
        socket.start(random.random() * plan.every)
    return sockets


async def _save(daemon: Daemon, result: Run, saves: Iterator[Save]) -> None:
    for number, save in enumerate(saves):
        await asyncio.sleep(random.uniform(0.05, 0.15))
        daemon.forget()
        start = perf_counter()
        save.write()
        try:
            served = await daemon.verdict()
            if served and not save.is_broken:
                at = await asyncio.wait_for(result.account.first(save.state), 10)
                result.served.append(at - start)
                result.skews += await daemon.skew()
        except TimeoutError:
            served = save.is_broken  # the wrong verdict, whatever it would have been
        result.windows.append((start, perf_counter()))
        result.broken += save.is_broken
        result.misjudged += served is save.is_broken
        if number % 10 == 0:
            result.most_alive = max(result.most_alive, await _alive(daemon))


async def _alive(daemon: Daemon) -> int:
    return len((await daemon.admin.status())["generations"])


async def _stop(sockets: list[Socket], account: Account) -> None:
    """Wait for the packets in flight; those that are not answered are lost."""
    for socket in sockets:
        socket.stop()
    for _ in range(100):
        if not any(socket.pending for socket in sockets):
            return
        await asyncio.sleep(0.1)
    account.lost += sum(socket.pending is not None for socket in sockets)
