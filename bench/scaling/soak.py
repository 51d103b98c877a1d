"""A soak: a worker is killed again and again, under clients that call, come and go."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from bench.reloading.daemon import Daemon
from bench.scaling.clients import Calls, Client, Clients, clients
from bench.scaling.gateway import PLUGIN, PROXIES, gateway, served_by
from bench.scaling.holdings import Holdings, environment, growth, holdings
from bench.scaling.rooms import settled
from tests.certificates import TLS

__all__ = ["Kill", "Soak", "soak"]

PROXY = "nginx"

TELL, CALL, LEAVE = 0.1, 0.005, 0.05
"""Seconds between two broadcasts, two calls, and two clients that leave and come back."""

BEFORE = 1.0
"""Seconds from the first broadcast to a kill."""

PATIENCE = 60.0
"""Seconds in which the clients of a killed worker have to be back."""


@dataclass(frozen=True, slots=True)
class Kill:
    """What came of one kill.

    `own` counts the connections of that worker that ended, `polling` and `websocket` those of
    others by their transport, with upgrades among the first; `refused` attempts to connect. `lost`
    and `twice` are broadcasts to clients that stayed, `counted` those that the gateway says were
    lost to anyone. Seconds: `back` until all
    clients are in the room again, `again` until the worker serves again.
    """

    worker: int
    own: int
    polling: int
    websocket: int
    refused: int
    broadcasts: int
    lost: int
    twice: int
    counted: int
    back: float
    again: float


@dataclass(slots=True)
class Soak:
    """A soak; `base` and `end` are what each process held without clients, before and after.

    `lost` counts calls without an answer: on connections of killed workers, on others by polling
    and on others by WebSocket. `reloads` counts verdicts by what they say.
    """

    workers: int
    clients: int
    seconds: float = 0.0
    kills: list[Kill] = field(default_factory=list)
    reloads: dict[str, int] = field(default_factory=dict)
    asked: int = 0
    answered: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    base: Mapping[str, Holdings] = field(default_factory=dict)
    end: Mapping[str, Holdings] = field(default_factory=dict)

    @property
    def problems(self) -> tuple[str, ...]:
        """Problems found; empty if there are none."""
        return tuple(self._problems())

    @property
    def is_clean(self) -> bool:
        return not self.problems

    def _problems(self) -> Iterator[str]:
        for number, kill in enumerate(self.kills, 1):
            if kill.websocket:
                yield f"kill {number}: {kill.websocket} WebSockets of other workers ended"
            if kill.lost > kill.counted:
                yield f"kill {number}: {kill.lost} broadcasts lost, {kill.counted} counted"
            if kill.twice:
                yield f"kill {number}: {kill.twice} broadcasts came twice"
        if self.lost["websocket"]:
            yield f"{self.lost['websocket']} calls lost on WebSockets of other workers"
        if missing := self.asked - self.answered - sum(self.lost.values()):
            yield f"{missing} of {self.asked} calls were not answered"
        yield from growth(self.base, self.end)


async def soak(workers: int, count: int, seconds: float, every: float, folder: Path) -> Soak:
    """Kill a worker each `every` seconds, all but the first in turn.

    A kill of each goes before it, as a warm-up. No client is connected between and after them.
    """
    found, told = Soak(workers, count), folder / "told"
    told.mkdir()
    async with gateway(folder, workers, "::1", environment(told)) as (daemon, port):
        scene = _Scene(daemon, port, folder, workers, every)
        await scene.run(Soak(workers, count), 0.0, "warm-up")
        found.base = await holdings(daemon, told)
        began = monotonic()
        await scene.run(found, seconds, "soak")
        found.seconds = monotonic() - began
        found.end = await holdings(daemon, told)
    return found


class _Scene:
    """A gateway whose workers are killed each `every` seconds."""

    def __init__(self, daemon: Daemon, port: int, folder: Path, workers: int, every: float) -> None:
        self._daemon, self._port, self._folder = daemon, port, folder
        self._workers, self._every = workers, every
        self._saves = 0
        self._random = random.Random(1)

    async def run(self, found: Soak, seconds: float, name: str) -> None:
        """Kill workers for so many seconds, or each of them once if that takes longer."""
        folder = self._folder / name
        folder.mkdir()
        tags: set[str] = set()
        async with PROXIES[PROXY](folder, self._port) as outside, clients() as crowd:
            url, ca = f"https://127.0.0.1:{outside}", (TLS / "one.pem").read_text()
            await crowd.open(url, ca, found.clients)
            await crowd.busy(CALL, LEAVE)
            end = monotonic() + seconds
            while len(found.kills) < self._workers - 1 or monotonic() < end:
                began = monotonic()
                victim = 2 + len(found.kills) % (self._workers - 1)
                found.kills.append(await self._kill(victim, crowd, found, tags))
                await asyncio.sleep(began + self._every - monotonic())
            _account(found, await crowd.quiet(), tags)
            await crowd.close()

    async def _kill(self, number: int, crowd: Clients, found: Soak, tags: set[str]) -> Kill:
        victim = (await self._daemon.admin.status())["workers"][number - 1]
        tags.add(victim["tag"])
        await crowd.forget()
        counted = await self._counted()
        while (teller := _teller(await crowd.facts(0, 0), number)) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await crowd.start(teller, TELL)
        saving = asyncio.create_task(self._save(found))
        await asyncio.sleep(BEFORE + self._random.uniform(0, TELL))  # not just when one is made
        began = monotonic()
        os.kill(victim["pid"], signal.SIGKILL)
        await _all_are_back(crowd, victim["tag"])
        back = monotonic() - began
        await served_by(self._daemon, victim["pid"])
        again = monotonic() - began
        await saving
        told = await crowd.stop()
        after = await settled(crowd, 0, told, _stayed)
        counted = await self._counted() - counted
        return _outcome(number, victim["tag"], after, told, counted, back, again)

    async def _save(self, found: Soak) -> None:
        """Save a plugin, some time before or after the kill."""
        await asyncio.sleep(self._random.uniform(0, 2 * BEFORE))
        self._saves += 1
        (self._folder / "plugins/room.py").write_text(f"{PLUGIN}\nVERSION = {self._saves}\n")
        result = (await self._daemon.admin.reload()).result
        found.reloads[result] = found.reloads.get(result, 0) + 1

    async def _counted(self) -> int:
        names = ("sockgw_bus_missed_total", "sockgw_bus_unpublished_total")
        return int(sum([sum(await self._daemon.metric(name)) for name in names]))


def _teller(before: list[Client], victim: int) -> int | None:
    """A client on a WebSocket of a worker that is not killed; `None` if there is none now."""
    numbers = (
        number
        for number, each in enumerate(before)
        if each.transports == "websocket" and each.worker not in (0, victim)
    )
    return next(numbers, None)


def _stayed(client: Client) -> bool:
    return not (client.noticed or client.left) and bool(client.worker)


async def _all_are_back(crowd: Clients, tag: str) -> None:
    """Wait until those that lose their connection, to that worker or another, are in the room.

    Raises `TimeoutError`.
    """

    def is_out(client: Client) -> bool:
        return client.tag == tag or (bool(client.noticed) and not client.worker)

    async with asyncio.timeout(PATIENCE):
        while any(map(is_out, await crowd.facts(0, 0))):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def _outcome(
    number: int,
    tag: str,
    after: list[Client],
    told: int,
    counted: int,
    back: float,
    again: float,
) -> Kill:
    ended = [connection for each in after for connection in each.ended]
    others = [each.transport for each in ended if each.tag != tag]
    return Kill(
        worker=number,
        own=len(ended) - len(others),
        polling=len(others) - others.count("websocket"),
        websocket=others.count("websocket"),
        refused=sum(what.startswith("connect_error") for each in after for what in each.noticed),
        broadcasts=told,
        lost=sum(each.lost for each in after if _stayed(each)),
        twice=sum(each.twice for each in after),
        counted=counted,
        back=back,
        again=again,
    )


def _account(found: Soak, calls: Calls, tags: set[str]) -> None:
    found.asked, found.answered = calls.asked, calls.answered
    others = [each.transport for each in calls.lost if each.tag not in tags]
    found.lost = {
        "own": len(calls.lost) - len(others),
        "polling": len(others) - others.count("websocket"),
        "websocket": others.count("websocket"),
    }
