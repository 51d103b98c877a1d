"""A room over all nodes, without faults: each numbered broadcast reaches each client once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from time import monotonic

from bench.clustering.nodes import Cluster
from bench.scaling.clients import Clients
from bench.scaling.rooms import settled

__all__ = ["Room", "room"]


@dataclass(frozen=True, slots=True)
class Room:
    """The clients of a room, and its broadcasts, each by another of them.

    `sockets` counts the clients of each member. `forwarded` requests went to another process of the
    node, `linked` requests and `relayed` WebSockets to the other node. `lost` and `twice` are of
    all deliveries, `missed` is what the members counted. `noticed` counts whatever clients noticed:
    ends of connections and answers other than 200, by its name.
    """

    broker: str
    clients: int
    broadcasts: int
    sockets: dict[str, int]
    forwarded: int
    linked: int
    relayed: int
    lost: int
    twice: int
    unanswered: int
    refused: int
    missed: int
    noticed: dict[str, int]
    seconds: float

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.twice or self.unanswered or self.missed or self.noticed)


async def room(cluster: Cluster, crowd: Clients, broadcasts: int) -> Room:
    """Have clients broadcast that are in the room already."""
    began = monotonic()
    answered = await crowd.tell(0, broadcasts)
    found = await settled(crowd, 0, broadcasts)
    noticed = Counter(what for each in found for what in each.noticed)
    upgrades = sum(each.transports == "polling-websocket" for each in found)
    if missing := upgrades - sum(each.upgraded > 0 for each in found):
        noticed["no upgrade"] = missing
    return Room(
        broker=cluster.broker.name,
        clients=len(found),
        broadcasts=broadcasts,
        sockets=dict(Counter(each.tag for each in found)),
        forwarded=await cluster.metric("sockgw_forwarded_total"),
        linked=await cluster.metric("sockgw_link_forwarded_total"),
        relayed=await cluster.metric("sockgw_link_relayed"),
        lost=sum(each.lost for each in found),
        twice=sum(each.twice for each in found),
        unanswered=broadcasts - answered,
        refused=sum(times for what, times in noticed.items() if what.endswith(" 400")),
        missed=await cluster.metric("sockgw_bus_missed_total"),
        noticed=dict(noticed),
        seconds=monotonic() - began,
    )
