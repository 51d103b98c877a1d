"""Presence: keeps who is in rooms and namespaces, and tells the sockets there of joins and leaves.

What a namespace wants of it is said by the `Presence` in its connection chain.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from gateway.api import Namespace, Present
from gateway.context import Presence
from gateway.errors import UsageError
from gateway.runtime.connection import ACCEPTED
from gateway.runtime.live import Live
from gateway.socketio.rooms import Member, Rooms
from gateway.socketio.roster import Change, Place, Roster
from gateway.users import is_user_room, user_of, user_room

__all__ = ["LARGEST_META", "LONGEST_NAME", "MOST_AT_ONCE", "Key", "Presences"]

MOST_AT_ONCE = 200
"""Joins and leaves in one event, or in one message to other members."""

GATHER = 0.05
"""Seconds for which joins and leaves are gathered before they are told."""

LARGEST_META = 1_000
"""Characters of the `meta` of an entry, as JSON."""

LONGEST_NAME = 256
"""Characters of the name of a room that presence is kept of."""

Key = tuple[Place, str]
"""A place, and who is there."""

Scope = Callable[[str], Namespace]
"""Returns a namespace."""

Deliver = Callable[[Namespace, str, Sequence[object]], int]
"""Sends an event to the sockets of a target that are connected here."""


class Presences:
    """Keeps who is present. A user with several sockets counts once; `tag` is that of this member.

    Somebody whose last socket has left stays for the grace of the namespace, and so does what a
    lost member has told. `tell` tells other members of own entries that are new or gone;
    `on_settle` is called when what is kept has changed. `unheard` counts entries of other members
    for which there was no room.
    """

    def __init__(self, live: Live, rooms: Rooms, scope: Scope, deliver: Deliver) -> None:
        self.tag = ""
        self.tell: Callable[[Sequence[Key]], None] | None = None
        self.on_settle: Callable[[], None] = _nothing
        self.unheard = 0
        self.roster = Roster(0)
        self._live, self._rooms = live, rooms
        self._scope, self._deliver = scope, deliver
        self._kept: Mapping[str, Presence] = {}
        self._sockets: dict[Member, set[Place]] = {}
        self._counts: Counter[Key] = Counter()
        self._leaving: dict[Key, asyncio.TimerHandle] = {}
        self._lost: dict[str, list[asyncio.TimerHandle]] = {}
        self._untold: dict[Key, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        live.on_swap = self._settle

    @property
    def is_used(self) -> bool:
        """True if presence is kept of a namespace."""
        return bool(self._kept)

    async def present(self, target: Namespace) -> list[Present]:
        """Return who is in the rooms of a target, each once. Raises `UsageError`."""
        excluded = {who for each in self._at(target.name, target.excluded) for who, _ in each}
        found: dict[str, str] = {}
        for each in self._at(target.name, target.rooms, or_all=True):
            found = {**dict(each), **found}
        return [_shown(who, meta) for who, meta in found.items() if who not in excluded]

    def _at(
        self, namespace: str, rooms: Sequence[str] | None, *, or_all: bool = False
    ) -> Iterator[Iterator[tuple[str, str]]]:
        kept = self._kept.get(namespace)
        chain = f"namespaces.{namespace}.connection_middleware"
        if kept is None:
            raise UsageError(f"no presence is kept: add builtin.presence to {chain}")
        places: Iterable[str | None] = (None,) if rooms is None and or_all else rooms or ()
        for room in places:
            if room is not None and is_user_room(room):
                raise UsageError("presence is asked of rooms or of a namespace, not of users")
            if or_all and not kept.keeps(room):
                where, option = ("the namespace", "namespace")
                if room is not None:
                    where, option = f"room {room!r}", "rooms"
                raise UsageError(
                    f"no presence is kept of {where}: see '{option}' of builtin.presence in {chain}"
                )
            yield self.roster.present((namespace, room))

    # What the rooms tell

    def entered(self, member: Member, rooms: Iterable[str | None]) -> None:
        """Note that an accepted socket is in rooms; `None` is its namespace."""
        kept = self._kept.get(member.socket.namespace)
        if kept is not None:
            for room in rooms:
                if _is_short(room) and kept.keeps(room):
                    self._enter(member, (kept, (member.socket.namespace, room)))

    def left(self, member: Member, room: str) -> None:
        """Note that a socket has left a room."""
        place = member.socket.namespace, room
        if place in self._sockets.get(member, ()):
            self._leave(member, place)

    def gone(self, member: Member) -> None:
        """Note that a socket is gone."""
        for place in tuple(self._sockets.get(member, ())):
            self._leave(member, place)

    def _enter(self, member: Member, where: tuple[Presence, Place]) -> None:
        kept, place = where
        places = self._sockets.setdefault(member, set())
        key = place, _who_of(member)
        if place not in places and self._has_room(member, key, kept):
            places.add(place)
            self._counts[key] += 1
        if not places:
            del self._sockets[member]

    def _has_room(self, member: Member, key: Key, kept: Presence) -> bool:
        """Put somebody into the roster, unless it is full."""
        if self._counts[key]:
            return True
        if leaving := self._leaving.pop(key, None):
            leaving.cancel()
            return True
        if not self.roster.put(self.tag, *key, _meta(member, kept)):
            member.count_limit("presence", "somebody is not listed")
            return False
        self._untold[key] = None
        self._tell_soon()
        return True

    def _leave(self, member: Member, place: Place, *, at_once: bool = False) -> None:
        places = self._sockets[member]
        places.discard(place)
        if not places:
            del self._sockets[member]
        key = place, _who_of(member)
        self._counts[key] -= 1
        if self._counts[key]:
            return
        del self._counts[key]
        kept = self._kept.get(place[0])
        if at_once or kept is None or not kept.grace:
            self._expire(key)
        else:
            later = asyncio.get_running_loop().call_later
            self._leaving[key] = later(kept.grace, self._expire, key)

    def _expire(self, key: Key) -> None:
        if leaving := self._leaving.pop(key, None):
            leaving.cancel()
        self.roster.drop(self.tag, *key)
        self._untold[key] = None
        self._tell_soon()

    # What other members tell

    def hear(self, tag: str, key: Key, meta: str | None) -> None:
        """Note that a member has somebody; `None` instead of a `meta` if it no longer has."""
        (namespace, room), _ = key
        kept = self._kept.get(namespace)
        if kept is None or not kept.keeps(room):
            return
        if meta is None:
            self.roster.drop(tag, *key)
        elif not self.roster.put(tag, *key, meta):
            self.unheard += 1
        self._tell_soon()

    def returned(self, tag: str) -> None:
        """Note that a member is there, and tells anew whom it has."""
        for timer in self._lost.pop(tag, ()):
            timer.cancel()

    def lost(self, tag: str) -> None:
        """Forget whom a lost member has, after the grace of each namespace."""
        self.returned(tag)
        later = asyncio.get_running_loop().call_later
        namespaces = {place[0] for place, _ in self.roster.entries(tag)}
        timers = [
            later(self._kept[each].grace, self._forget, tag, each)
            for each in namespaces
            if each in self._kept
        ]
        if timers:
            self._lost[tag] = timers

    def _forget(self, tag: str, namespace: str) -> None:
        for place, who in tuple(self.roster.entries(tag)):
            if place[0] == namespace:
                self.roster.drop(tag, place, who)
        if not self.roster.entries(tag):
            self._lost.pop(tag, None)
        self._tell_soon()

    # Reload

    def _settle(self) -> None:
        """Keep what the serving generation says, of sockets that are connected already too."""
        current = self._live.current
        if current is None:  # it stops: others keep what was told until they lose this member
            return
        self.roster.most = current.blueprint.limits.presence
        namespaces = current.blueprint.namespaces.values()
        kept = {each.name: each.presence for each in namespaces if each.presence is not None}
        if kept == self._kept:
            return
        self._kept = kept
        self._rooms.presence = self if kept else None
        self._drop_unkept()
        for member in self._rooms if kept else ():
            if member.state is ACCEPTED:
                self.entered(member, (None, *(member.rooms or ())))
        self._tell_soon()
        self.on_settle()

    def _drop_unkept(self) -> None:
        def is_kept(place: Place) -> bool:
            namespace, room = place
            return namespace in self._kept and self._kept[namespace].keeps(room)

        for member, places in tuple(self._sockets.items()):
            for place in [each for each in places if not is_kept(each)]:
                self._leave(member, place, at_once=True)
        for key in [each for each in self._leaving if not is_kept(each[0])]:
            self._expire(key)
        for tag in self.roster.tags():
            for place, who in tuple(self.roster.entries(tag)):
                if not is_kept(place):
                    self.roster.drop(tag, place, who)

    # Telling

    def _tell_soon(self) -> None:
        if self._timer is None and (self._untold or self.roster.has_changes):
            self._timer = asyncio.get_running_loop().call_later(GATHER, self._tell)

    def _tell(self) -> None:
        self._timer = None
        untold, self._untold = self._untold, {}
        if self.tell is not None and untold:
            self.tell(tuple(untold))
        by_place: dict[Place, list[Change]] = {}
        for change in self.roster.take_changes():
            by_place.setdefault(change.place, []).append(change)
        for (namespace, room), changes in by_place.items():
            if namespace in self._kept:
                for begin in range(0, len(changes), MOST_AT_ONCE):
                    told = _told(room, changes[begin : begin + MOST_AT_ONCE])
                    target = self._scope(namespace)
                    self._deliver(target if room is None else target.to(room), "presence", [told])


def _told(room: str | None, changes: Iterable[Change]) -> dict[str, object]:
    """The argument of an event `presence`."""
    told: dict[bool, list[object]] = {True: [], False: []}
    for each in changes:
        told[each.has_joined].append(_shown(each.who, each.meta).as_dict())
    return {"room": room, "joins": told[True], "leaves": told[False]}


def _who_of(member: Member) -> str:
    """The user of a socket, as the name of a room; its id if it has none."""
    user = member.socket.user
    return member.socket.id if user is None else user_room(user)


def _shown(who: str, meta: str) -> Present:
    """Return somebody as plugins see it."""
    user = user_of(who)
    return Present(user, who if user is None else None, json.loads(meta) if meta else None)


def _meta(member: Member, kept: Presence) -> str:
    """The `meta` of a socket as JSON; empty if it has none, or one that cannot be sent."""
    if kept.meta is None:
        return ""
    value: object = member.socket.data
    for key in kept.meta.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    try:
        text = "" if value is None else json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        member.count_limit("presence", f"the meta in data.{kept.meta} is no JSON")
        return ""
    if len(text) > LARGEST_META:
        member.count_limit("presence", f"the meta in data.{kept.meta} is too large")
        return ""
    return text


def _is_short(room: str | None) -> bool:
    return room is None or len(room) <= LONGEST_NAME


def _nothing() -> None:
    """Do nothing: there are no other members."""
