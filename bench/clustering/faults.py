"""Faults of the broker, the network and a node, and what they cost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TypeAlias

from bench.clustering.brokers import Sentinel
from bench.clustering.losses import Loss, is_witness, losses
from bench.clustering.nodes import Cluster, Counted
from bench.scaling.clients import Client, Clients, Song

__all__ = ["FAULTS", "Fault", "fault"]

BEFORE, AFTER = 1.0, 1.0
"""Seconds of broadcasts before a fault, and after all is whole again."""

OUTAGE, LONG_OUTAGE = 6.0, 13.0
"""Seconds that a fault lasts; in the longer ones a member is lost to the others."""

QUIET = 5.0
"""Seconds without any change after which all has arrived, or is counted: longer than a beat."""

PATIENCE = 150.0
"""Seconds in which all clients have to be back, and all has to come to rest."""

LOOK = 0.2
"""Seconds between two looks at the clients."""

Deed: TypeAlias = Callable[[Cluster], Awaitable[None]]
"""Does harm, and ends it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What came of a fault.

    `told` is what the nodes tell by `sockgw_bus_missed_total`, `unpublished` what publishers say
    they could not send. `noticed` counts clients that noticed something, by their transport,
    `refused` answers 400. Seconds from its end: `back` until all clients are in the room,
    `whole` until all members reach each other and what they have in common.
    """

    kind: str
    broker: str
    clients: int
    broadcasts: int
    members: list[Loss]
    told: int
    unpublished: int
    twice: int
    refused: int
    noticed: dict[str, int]
    back: float
    whole: float

    @property
    def is_clean(self) -> bool:
        """True if each member's clients lost what it counted, and nothing came twice."""
        counted = sum(each.counted for each in self.members)
        is_told = self.told == counted
        return is_told and not self.twice and all(each.is_exact for each in self.members)


async def _kill_broker(cluster: Cluster) -> None:
    await cluster.broker.server.kill()
    await asyncio.sleep(OUTAGE / 2)
    await cluster.broker.server.start()


async def _freeze_broker(cluster: Cluster) -> None:
    cluster.broker.server.freeze()
    try:
        await asyncio.sleep(OUTAGE)
    finally:
        cluster.broker.server.thaw()


async def _empty_redis(cluster: Cluster) -> None:
    await cluster.broker.server.command("FLUSHALL")
    await asyncio.sleep(OUTAGE / 2)


async def _deafen_broker(cluster: Cluster) -> None:
    node, broker = cluster.nodes[0].machine, cluster.broker.server.machine
    await node.drop(broker)
    await asyncio.sleep(OUTAGE)
    await node.let(broker)


async def _deafen_node(cluster: Cluster) -> None:
    node, broker = cluster.nodes[0].machine, cluster.broker.server.machine
    await broker.drop(node)
    await asyncio.sleep(LONG_OUTAGE)
    await broker.let(node)


async def _part_broker(cluster: Cluster) -> None:
    node, broker = cluster.nodes[0].machine, cluster.broker.server.machine
    await asyncio.gather(node.drop(broker), broker.drop(node))
    await asyncio.sleep(OUTAGE)
    await asyncio.gather(node.let(broker), broker.let(node))


async def _part_nodes(cluster: Cluster) -> None:
    one, two = (node.machine for node in cluster.nodes)
    await asyncio.gather(one.drop(two), two.drop(one))
    await asyncio.sleep(LONG_OUTAGE)
    await asyncio.gather(one.let(two), two.let(one))


async def _kill_node(cluster: Cluster) -> None:
    await cluster.nodes[1].kill()
    await asyncio.sleep(OUTAGE / 2)
    await cluster.nodes[1].start()


async def _kill_master(cluster: Cluster) -> None:
    assert isinstance(cluster.broker, Sentinel)
    master = cluster.broker.server
    await master.kill()
    await cluster.broker.moved(master.machine.address)
    await cluster.broker.joined(cluster.members)
    await master.start()
    await cluster.broker.ready()


async def _fail_over(cluster: Cluster) -> None:
    assert isinstance(cluster.broker, Sentinel)
    await cluster.broker.failover()
    await cluster.broker.joined(cluster.members)


FAULTS: Mapping[str, Mapping[str, Deed]] = {
    "Redis": {
        "`kill -9` of Redis, back after 3 s": _kill_broker,
        "`kill -STOP` of Redis for 6 s": _freeze_broker,
        "`FLUSHALL`": _empty_redis,
        "node 1 to Redis dropped for 6 s": _deafen_broker,
        "Redis to node 1 dropped for 13 s": _deafen_node,
        "both ways dropped for 6 s": _part_broker,
        "nodes 1 and 2 parted for 13 s": _part_nodes,
        "`kill -9` of node 2, back after 3 s": _kill_node,
    },
    "Sentinel": {
        "`kill -9` of the master, back as a replica": _kill_master,
        "`SENTINEL FAILOVER`": _fail_over,
    },
    "NATS": {
        "`kill -9` of NATS, back after 3 s": _kill_broker,
        "`kill -STOP` of NATS for 6 s": _freeze_broker,
        "node 1 to NATS dropped for 6 s": _deafen_broker,
        "NATS to node 1 dropped for 13 s": _deafen_node,
        "both ways dropped for 6 s, on NATS": _part_broker,
        "nodes 1 and 2 parted for 13 s, on NATS": _part_nodes,
        "`kill -9` of node 2, back after 3 s, on NATS": _kill_node,
    },
}
"""What happens to a cluster on each broker."""


async def fault(kind: str, cluster: Cluster, crowd: Clients, every: float) -> Fault:
    """Let something happen while clients of each member broadcast, one each `every` seconds."""
    deed = FAULTS[cluster.broker.name][kind]
    await crowd.forget()
    before, missed, unpublished = await cluster.counted(), *await _counts(cluster)
    await crowd.sing(_tellers(await crowd.facts(0, 0)), every)
    await asyncio.sleep(BEFORE)
    await deed(cluster)
    whole, back = await asyncio.gather(cluster.whole(), _all_are_in(crowd))
    await asyncio.sleep(AFTER)
    songs = await crowd.hush()
    after, clients = await _settled(cluster, crowd, songs)
    now_missed, now_unpublished = await _counts(cluster)
    return Fault(
        kind=kind,
        broker=cluster.broker.name,
        clients=len(clients),
        broadcasts=len(songs),
        members=losses(before, after, clients, songs),
        told=now_missed - missed + _gone(before, after),
        unpublished=max(0, now_unpublished - unpublished),
        twice=sum(each.twice for each in clients),
        refused=sum(what.endswith(" 400") for each in clients for what in each.noticed),
        noticed=_noticed(clients),
        back=back,
        whole=whole,
    )


def _gone(before: Mapping[str, Counted], after: Mapping[str, Counted]) -> int:
    """What members had counted of whose nodes nothing is left: their sums begin anew."""
    return sum(each.missed for tag, each in before.items() if tag not in after)


async def _counts(cluster: Cluster) -> tuple[int, int]:
    """What all nodes tell as missed, and as not published."""
    names = "sockgw_bus_missed_total", "sockgw_bus_unpublished_total"
    missed, unpublished = [await cluster.metric(name) for name in names]
    return missed, unpublished


def _tellers(clients: Sequence[Client]) -> list[int]:
    """A client of each member, by their number: one that came as a WebSocket, or else another."""
    found: dict[str, int] = {}
    order = sorted(range(len(clients)), key=lambda each: clients[each].transports != "websocket")
    for number in order:
        found.setdefault(clients[number].tag, number)
    return list(found.values())


async def _all_are_in(crowd: Clients) -> float:
    """Wait until all clients are in the room; the seconds. Raises `TimeoutError`."""
    began = monotonic()
    async with asyncio.timeout(PATIENCE):
        while not all(each.worker for each in await crowd.facts(0, 0)):  # noqa: ASYNC110
            await asyncio.sleep(LOOK)
    return monotonic() - began


async def _settled(
    cluster: Cluster, crowd: Clients, songs: Sequence[Song]
) -> tuple[dict[str, Counted], list[Client]]:
    """What was counted, and the clients, once nothing changes any more."""
    began = news = monotonic()
    former: list[int] = []
    while True:
        clients = await crowd.facts(0, len(songs))
        now, found = monotonic(), [*await _counts(cluster), _lacking(clients)]
        if found != former:
            former, news = found, now
        if now > news + QUIET or now > began + PATIENCE:
            return await cluster.counted(), clients
        await asyncio.sleep(2 * LOOK)


def _lacking(clients: Iterable[Client]) -> int:
    return sum(each.lost for each in clients if is_witness(each))


def _noticed(clients: Iterable[Client]) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in clients:
        found[each.transports] = found.get(each.transports, 0) + (not is_witness(each))
    return found
