"""Lists of sockets and rooms, a page at a time: others have their turn between.

A page is found by looking at all names, some of them in a turn of the loop: sorting 50,000 at once
would stop everybody else for 20 ms.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import chain, islice
from operator import attrgetter
from typing import Any, TypeVar

from gateway.api import Namespace, is_user_room
from gateway.socketio.rooms import Member, Rooms

__all__ = ["ROOMS", "Listed", "list_rooms", "list_sockets", "listed"]

T = TypeVar("T")

TURN = 1_000
"""Names that are looked at in one turn of the loop."""

ROOMS = 100
"""Rooms that are named of each socket on a page at most."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A socket on a page.

    `rooms` are some of the `room_count` rooms that it is in. `connected` is the time of its
    CONNECT, in seconds since the epoch.
    """

    id: str
    user: str | None
    rooms: list[str]
    room_count: int
    address: str
    connected: float


async def list_sockets(
    rooms: Rooms, target: Namespace, after: str, limit: int
) -> tuple[list[Listed], int]:
    """Return the first `limit` accepted sockets of a target behind the id `after`, by their ids.

    The number of all sockets of the target comes with them.
    """
    found = rooms.find(target)
    page = await _first(found, limit, lambda each: each.socket.id > after, _id)
    return [listed(member) for member in page], len(found)


async def list_rooms(rooms: Rooms, namespace: str, after: str, limit: int) -> dict[str, int]:
    """Return the first `limit` rooms of a namespace behind `after`, and how many sockets each has.

    Those of users and of single sockets are none.
    """
    page = await _first(
        rooms.names(namespace),
        limit,
        lambda name: name > after and not is_user_room(name),
        lambda name: name,
    )
    return {name: rooms.size(namespace, name) for name in page}


def listed(member: Member) -> Listed:
    """Return a socket as pages have it."""
    socket, joined = member.socket, member.rooms or ()
    own = (socket.id,) if member.is_in_own_room else ()
    return Listed(
        socket.id,
        socket.user,
        list(islice(chain(own, joined), ROOMS)),
        len(own) + len(joined),
        socket.handshake.address,
        socket.handshake.time,
    )


async def _first(
    found: Sequence[T], count: int, fits: Callable[[T], bool], key: Callable[[T], Any]
) -> list[T]:
    """Return the `count` smallest of those that fit."""
    page: Iterable[T] = ()
    for begin in range(0, len(found), TURN):
        if begin:
            await asyncio.sleep(0)
        fitting = filter(fits, found[begin : begin + TURN])
        page = nsmallest(count, chain(page, fitting), key)
    return list(page)


_id: Callable[[Member], str] = attrgetter("socket.id")
