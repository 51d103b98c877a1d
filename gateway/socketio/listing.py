"""Lists of sockets and rooms, a page at a time: others have their turn between.

A page is found by looking at all names, 500 of them in a turn of the loop: sorting 50,000 at once
would stop everybody else for 20 ms. So would the garbage collector for 5 ms if it scanned the copy
of so many, which is why it pauses.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from operator import attrgetter
from typing import TypeVar

from gateway.api import Namespace
from gateway.socketio.rooms import Member, Rooms
from gateway.users import user_room

__all__ = ["ROOMS", "Listed", "list_rooms", "list_sockets", "listed"]

T = TypeVar("T")

TURN = 500
"""Names that are looked at in one turn of the loop."""

LAST_USER = user_room("\U0010ffff" * 257)
"""A text behind the names of all rooms of users, which begin alike."""

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
    with _collector_paused():
        found = rooms.find(target)
        total, page = len(found), await _first(found, limit, _id, after)
        del found
    told: list[Listed] = []
    for begin in range(0, len(page), TURN // 5):
        await asyncio.sleep(0)
        told += map(listed, page[begin : begin + TURN // 5])
    return told, total


async def list_rooms(rooms: Rooms, namespace: str, after: str, limit: int) -> dict[str, int]:
    """Return the first `limit` rooms of a namespace behind `after`, and how many sockets each has.

    Those of users and of single sockets are none.
    """
    with _collector_paused():
        page = await _first(rooms.names(namespace), limit, str, max(after, LAST_USER))
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


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the garbage collector; of two pages at once, the end of the first one resumes it."""
    is_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_on:
            gc.enable()


async def _first(
    found: Sequence[T], count: int, name_of: Callable[[T], str], after: str
) -> list[T]:
    """Return the `count` first of those behind a name, by their names."""
    page: list[T] = []
    last: str | None = None  # the name of the last on a full page
    for begin in range(0, len(found), TURN):
        await asyncio.sleep(0)  # to have copied all names was a turn's work, too
        fitting = [
            each
            for each in found[begin : begin + TURN]
            if after < (name := name_of(each)) and (last is None or name < last)
        ]
        if fitting:
            page = sorted(chain(page, fitting), key=name_of)[:count]
            last = name_of(page[-1]) if len(page) == count else None
    await asyncio.sleep(0)
    return page


_id: Callable[[Member], str] = attrgetter("socket.id")
