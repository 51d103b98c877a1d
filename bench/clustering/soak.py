"""A soak: the broker is killed and started again and again, under clients that come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from bench.clustering.faults import PATIENCE
from bench.clustering.nodes import Cluster, cluster, front
from bench.scaling.clients import Clients, clients
from bench.scaling.holdings import Holdings, growth, holdings, told

__all__ = ["Held", "Soak", "soak"]

CALL, LEAVE, CHANGE = 0.01, 0.1, 0.2
"""Seconds between two calls, two clients that leave and come back, and two that change rooms."""

AWAY = 1.0
"""Seconds for which the broker is away each time."""


@dataclass(frozen=True, slots=True)
class Held:
    """What is held without clients: by each process, by its name, and of subscriptions.

    `subscriptions` are those that the members make, `brokered` those that the broker has.
    """

    processes: Mapping[str, Holdings]
    subscriptions: int
    brokered: int


@dataclass(slots=True)
class Soak:
    """A soak, with what is held before and after it. `away` are the seconds from each start of the
    broker until all is whole again."""

    broker: str
    clients: int
    seconds: float = 0.0
    away: list[float] = field(default_factory=list)
    asked: int = 0
    answered: int = 0
    lost: int = 0
    missed: int = 0
    received: int = 0
    errors: list[str] = field(default_factory=list)
    base: Held | None = None
    end: Held | None = None

    @property
    def problems(self) -> tuple[str, ...]:
        """Problems found; empty if there are none."""
        return tuple(self._problems())

    @property
    def is_clean(self) -> bool:
        return not self.problems

    def _problems(self) -> Iterator[str]:
        assert self.base is not None
        assert self.end is not None
        yield from growth(self.base.processes, self.end.processes)
        for what in ("subscriptions", "brokered"):
            before, after = getattr(self.base, what), getattr(self.end, what)
            if before != after:
                yield f"{what}: {before} before and {after} after"
        if self.lost:
            yield f"{self.lost} of {self.asked} calls were not answered"
        yield from self.errors


async def soak(broker: str, count: int, seconds: float, every: float, folder: Path) -> Soak:
    """Kill the broker each `every` seconds and start it again.

    A round of that goes before it, as a warm-up. No client is connected between and after them.
    """
    found = Soak(broker, count)
    async with cluster(broker, folder) as ours:
        await _run(ours, Soak(broker, count), 0.0, every, folder)
        found.base = await _held(ours)
        began = monotonic()
        await _run(ours, found, seconds, every, folder)
        found.seconds = monotonic() - began
        found.end = await _held(ours)
        found.errors = [error for node in ours.nodes for error in node.errors]
    return found


async def _run(ours: Cluster, found: Soak, seconds: float, every: float, folder: Path) -> None:
    """Let clients come and go, and kill the broker, for so many seconds; once at least."""
    async with front(ours, folder) as url, clients() as crowd:
        await crowd.open(url, "", found.clients)
        await crowd.busy(CALL, LEAVE, CHANGE)
        end = monotonic() + seconds
        while not found.away or monotonic() < end:
            began = monotonic()
            await ours.broker.server.kill()
            await asyncio.sleep(AWAY)
            await ours.broker.server.start()
            found.away.append(await ours.whole())
            await asyncio.sleep(max(0.0, began + every - monotonic()))
        await _account(found, crowd)
        found.missed = await ours.metric("sockgw_bus_missed_total")
        found.received = await ours.metric("sockgw_bus_received_total")
        await crowd.close()


async def _account(found: Soak, crowd: Clients) -> None:
    calls = await crowd.quiet()
    found.asked, found.answered, found.lost = calls.asked, calls.answered, len(calls.lost)


async def _held(ours: Cluster) -> Held:
    """What is held once all has come to rest."""
    async with asyncio.timeout(2 * PATIENCE):
        await ours.whole()
        processes, subscriptions = {}, 0
        for node in ours.nodes:
            held = await holdings(node.daemon, node.told)
            processes |= {f"{name} of node {node.number}": each for name, each in held.items()}
            for pid in (await node.members()).values():
                subscriptions += (await told(pid, node.told)).subscriptions
        return Held(processes, subscriptions, await ours.broker.subscriptions())
