"""What each process of a gateway holds: memory, descriptors, tasks, timers, objects."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import msgspec

from bench.processes import family, held
from bench.reloading.daemon import Daemon
from bench.scaling.gateway import pids

__all__ = ["Holdings", "Told", "environment", "growth", "holdings", "told"]

INSIDE = Path(__file__).with_name("inside")

PATIENCE = 90.0
"""Seconds in which a process has to tell what it holds, and all have to come to rest.

A client that is gone between two polls is missed after `ping_interval` and `ping_timeout`.
"""

DESCRIPTORS, TASKS, TIMERS = 2, 2, 2
"""How many more there may be: the admin listener or a reload may be at work."""

MEMORY = 1.05, 4 * 2**20
"""Growth of memory that is allowed: a factor, and bytes on top."""


class Told(msgspec.Struct, frozen=True):
    """What a process tells of itself; see `inside/sitecustomize.py`.

    `missed` counts messages of other members, `subscriptions` those that its bus makes.
    """

    tasks: int
    timers: int
    missed: int
    subscriptions: int
    objects: dict[str, int]


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a process holds; `memory` is its resident set in bytes, `objects` counts types."""

    memory: int
    private: int
    descriptors: int
    tasks: int
    timers: int
    objects: Mapping[str, int]


def environment(folder: Path) -> dict[str, str]:
    """The environment of a gateway whose processes tell what they hold, into files in `folder`."""
    return {"PYTHONPATH": str(INSIDE), "BENCH_HOLDINGS": str(folder)}


async def holdings(daemon: Daemon, folder: Path) -> dict[str, Holdings]:
    """What each process holds, by its name, once no client is left. Raises `TimeoutError`."""
    await _rest(daemon)
    workers = await pids(daemon)
    names = {daemon.pid: "supervisor", family(daemon.pid)[1]: "zygote"}
    names |= {pid: f"worker {number}" for number, pid in workers.items()}
    return {name: await _holdings(pid, folder) for pid, name in names.items()}


async def _rest(daemon: Daemon) -> None:
    """Wait until no client is left, and no descriptor comes or goes for a second."""
    former: list[int] = []
    async with asyncio.timeout(PATIENCE):
        while True:
            now = [len(_descriptors(pid)) for pid in family(daemon.pid)]
            sockets = sum((await daemon.admin.status())["sockets"].values())
            if now == former and not sockets:
                return
            former = now
            await asyncio.sleep(1)


async def _holdings(pid: int, folder: Path) -> Holdings:
    sizes, descriptors = held(pid), len(_descriptors(pid))
    found = await told(pid, folder)
    return Holdings(
        sizes["rss"], sizes["private"], descriptors, found.tasks, found.timers, found.objects
    )


async def told(pid: int, folder: Path) -> Told:
    """What a process tells of itself. Raises `OSError` if it does not."""
    file = folder / f"{pid}.json"
    file.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    end = monotonic() + PATIENCE
    while not file.exists() and monotonic() < end:  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.02)
    return msgspec.json.decode(file.read_bytes(), type=Told)


def _descriptors(pid: int) -> list[str]:
    with suppress(OSError):
        return os.listdir(f"/proc/{pid}/fd")
    return []


def growth(base: Mapping[str, Holdings], end: Mapping[str, Holdings]) -> Iterator[str]:
    """Yield what a process holds more of in the end than it may."""
    for name, before in base.items():
        after = end[name]
        for what, more in (("descriptors", DESCRIPTORS), ("tasks", TASKS), ("timers", TIMERS)):
            one, two = getattr(before, what), getattr(after, what)
            if two > one + more:
                yield f"{what} of the {name} grew from {one} to {two}"
        if after.memory > before.memory * MEMORY[0] + MEMORY[1]:
            sizes = f"{before.memory / 2**20:.1f} to {after.memory / 2**20:.1f} MB"
            yield f"memory of the {name} grew from {sizes}"
