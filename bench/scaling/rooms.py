"""Rooms over all workers: each numbered broadcast reaches each client once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from bench.scaling.clients import Client, Clients, clients
from bench.scaling.gateway import behind
from tests.certificates import TLS

__all__ = ["Room", "room", "settled"]

SETTLE = 60.0
"""Seconds in which everything has to arrive; those without news end it sooner."""
NEWS = 5.0


@dataclass(frozen=True, slots=True)
class Room:
    """The clients of a room behind a proxy, and its broadcasts.

    `sockets` counts the clients of each worker, `forwarded` requests that went from one worker to
    another. `lost` and `twice` are of all deliveries. `noticed` counts whatever clients noticed:
    ends of connections and answers other than 200, by its name.
    """

    proxy: str
    workers: int
    clients: int
    broadcasts: int
    sockets: list[int]
    forwarded: int
    lost: int
    twice: int
    unanswered: int
    refused: int
    noticed: dict[str, int]
    seconds: float

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.twice or self.unanswered or self.noticed)


async def room(proxy: str, workers: int, count: int, broadcasts: int, folder: Path) -> Room:
    """Let clients of all transports share a room, and broadcast in it."""
    began = monotonic()
    async with behind(proxy, folder, workers) as (daemon, _, url), clients() as crowd:
        await crowd.open(url, (TLS / "one.pem").read_text(), count)
        answered = await crowd.tell(0, broadcasts)
        found = await settled(crowd, 0, broadcasts)
        noticed = Counter(what for each in found for what in each.noticed)
        upgrades = sum(each.transports == "polling-websocket" for each in found)
        if missing := upgrades - sum(each.upgraded for each in found):
            noticed["no upgrade"] = missing
        sockets = Counter(each.worker for each in found)
        return Room(
            proxy=proxy,
            workers=workers,
            clients=count,
            broadcasts=broadcasts,
            sockets=[sockets[number] for number in range(1, workers + 1)],
            forwarded=int(sum(await daemon.metric("sockgw_forwarded_total"))),
            lost=sum(each.lost for each in found),
            twice=sum(each.twice for each in found),
            unanswered=broadcasts - answered,
            refused=sum(times for what, times in noticed.items() if what.endswith(" 400")),
            noticed=dict(noticed),
            seconds=monotonic() - began,
        )


async def settled(
    crowd: Clients, first: int, end: int, counts: Callable[[Client], bool] = lambda each: True
) -> list[Client]:
    """The clients once those that count have all the broadcasts, or get no more of them."""
    began = news = monotonic()
    least = -1
    while True:
        found = await crowd.facts(first, end)
        now, lost = monotonic(), sum(each.lost for each in found if counts(each))
        if lost != least:
            least, news = lost, now
        if not lost or now > news + NEWS or now > began + SETTLE:
            return found
        await asyncio.sleep(0.2)
