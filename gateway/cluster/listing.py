"""Pages of the sockets and rooms of all members."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import chain
from operator import attrgetter

from gateway.api import Namespace
from gateway.cluster import messages as wire
from gateway.cluster.asking import Gathered
from gateway.cluster.emitter import ClusterEmitter
from gateway.cluster.messages import ListRooms, ListSockets
from gateway.socketio.hub import Hub
from gateway.socketio.listing import Listed, list_rooms, list_sockets

__all__ = ["RoomsPage", "SocketsPage", "rooms_page", "sockets_page"]

WAIT = 2.0
"""Seconds that a page waits for other members."""


@dataclass(frozen=True, slots=True)
class SocketsPage:
    """Some sockets of a target, `total` being the number of all.

    `missing` are the tags of the members that did not tell theirs.
    """

    sockets: Sequence[Listed]
    total: int
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RoomsPage:
    """Some rooms of a namespace and their numbers of sockets; `missing` is as of `SocketsPage`."""

    rooms: dict[str, int]
    missing: tuple[str, ...] = ()


async def sockets_page(hub: Hub, target: Namespace, after: str, limit: int) -> SocketsPage:
    """Return the first `limit` sockets of a target behind the id `after`, of all members."""
    request = ListSockets(opts=wire.options(target), limit=limit, after=after)
    here, total = await list_sockets(hub.rooms, target, after, limit)
    found = await _asked(hub, target, request)
    sockets = list(here)
    for answers in found.answers.values():
        sockets += chain.from_iterable(each.listed for each in answers)
        total += answers[0].count
    return SocketsPage(nsmallest(limit, sockets, attrgetter("id")), total, found.missing)


async def rooms_page(hub: Hub, namespace: str, after: str, limit: int) -> RoomsPage:
    """Return the first `limit` rooms of a namespace behind `after`, of all members."""
    target = hub.scope(namespace)
    request = ListRooms(opts=wire.options(target), limit=limit, after=after)
    counts = Counter(await list_rooms(hub.rooms, namespace, after, limit))
    found = await _asked(hub, target, request)
    for answers in found.answers.values():
        counts.update(answers[0].rooms)
    names = nsmallest(limit, counts)
    return RoomsPage({name: counts[name] for name in names}, found.missing)


async def _asked(hub: Hub, target: Namespace, request: ListSockets | ListRooms) -> Gathered:
    if isinstance(hub.emitter, ClusterEmitter):
        return await hub.emitter.request(target, request, WAIT)
    return Gathered()
