"""The rooms: which sockets are in a namespace, and in which rooms of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

from gateway.api import Namespace, Socket
from gateway.engineio.session import Session
from gateway.limits import LimitName, Limits, NamespaceLimits
from gateway.runtime.connection import ACCEPTED, Connection

__all__ = ["Member", "Rooms"]


class Member(Connection):
    """A socket as the rooms know it.

    `session` carries what is sent to it. `rooms` are those it has joined, `None` for none;
    `is_in_own_room` is false once it has left the room that is named after its id.
    """

    __slots__ = ("is_in_own_room", "rooms", "session")

    def __init__(self, socket: Socket, scope: Namespace, session: Session) -> None:
        super().__init__(socket, scope)
        self.session = session
        self.rooms: set[str] | None = None
        self.is_in_own_room = True


_Members = dict[Member, None]
"""A set that keeps its order."""


class Rooms:
    """Sockets by id; those that are accepted also by namespace and room.

    A socket that is still connecting may join rooms, but gets nothing that is sent there. The
    room that each socket is alone in, named after its id, is not stored.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, Member] = {}
        self._namespaces: dict[str, _Members] = {}
        self._rooms: dict[str, dict[str, _Members]] = {}
        self._addresses: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Member]:
        return iter(tuple(self._by_id.values()))

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of sockets in each namespace, those that are connecting included."""
        return +self._counts

    def limit(
        self, namespace: str, address: str, limits: Limits, own: NamespaceLimits
    ) -> LimitName | None:
        """The limit for which there is no room for one more socket, if there is one."""
        if len(self._by_id) >= limits.sockets or self._counts[namespace] >= own.sockets:
            return "sockets"
        here = self._addresses.get(address, 0)
        return "sockets_per_address" if here >= limits.sockets_per_address else None

    def add(self, member: Member) -> None:
        """Enter a socket that begins to connect."""
        self._by_id[member.socket.id] = member
        self._counts[member.socket.namespace] += 1
        self._addresses[member.session.address] += 1

    def admit(self, member: Member) -> None:
        """Let what is sent to its namespace and rooms reach a socket, which is accepted."""
        namespace = member.socket.namespace
        self._namespaces.setdefault(namespace, {})[member] = None
        for room in member.rooms or ():
            self._place(member, room)

    def remove(self, member: Member) -> None:
        """Forget a socket, in as many steps as it is in rooms; one that is gone is no error.

        Its own record of its rooms stays.
        """
        if self._by_id.pop(member.socket.id, None) is None:
            return
        namespace, address = member.socket.namespace, member.session.address
        self._counts[namespace] -= 1
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]
        _discard(self._namespaces, namespace, member)
        for room in member.rooms or ():
            self._displace(member, room)

    def join(self, member: Member, room: str) -> None:
        """Add a socket to a room. Raises `ValueError` for a room that is another socket's own."""
        if room == member.socket.id:
            member.is_in_own_room = True
            return
        if room in self._by_id:
            raise ValueError(f"room '{room}' is a socket's own")
        if member.rooms is None:
            member.rooms = set()
        member.rooms.add(room)
        if member.state is ACCEPTED:
            self._place(member, room)

    def leave(self, member: Member, room: str) -> None:
        """Take a socket out of a room; one that is not in it is no error."""
        if room == member.socket.id:
            member.is_in_own_room = False
        elif member.rooms is not None and room in member.rooms:
            member.rooms.remove(room)
            self._displace(member, room)

    def find(self, target: Namespace) -> Collection[Member]:
        """The accepted sockets that a target means, each once."""
        namespace, names = target.name, target.rooms
        if not names:
            found = self._namespaces.get(namespace, {})
        elif len(names) == 1:
            found = self._members(namespace, names[0])
        else:
            found = self._union(namespace, names)
        if target.excluded:
            excluded = self._union(namespace, target.excluded)
            return [member for member in found if member not in excluded]
        return tuple(found)  # a client that does not keep up leaves while it is sent to

    def _union(self, namespace: str, rooms: Iterable[str]) -> _Members:
        found: _Members = {}
        for room in rooms:
            found |= self._members(namespace, room)
        return found

    def _members(self, namespace: str, room: str) -> _Members:
        rooms = self._rooms.get(namespace)
        if rooms is not None and (members := rooms.get(room)) is not None:
            return members
        own = self._by_id.get(room)
        if own is None or own.socket.namespace != namespace or own.state is not ACCEPTED:
            return {}
        return {own: None} if own.is_in_own_room else {}

    def _place(self, member: Member, room: str) -> None:
        rooms = self._rooms.setdefault(member.socket.namespace, {})
        rooms.setdefault(room, {})[member] = None

    def _displace(self, member: Member, room: str) -> None:
        namespace = member.socket.namespace
        rooms = self._rooms.get(namespace)
        if rooms is not None:
            _discard(rooms, room, member)
            if not rooms:
                del self._rooms[namespace]


def _discard(table: dict[str, _Members], key: str, member: Member) -> None:
    """Take a member out of one of the sets in a table, and the set out if it is empty then."""
    members = table.get(key)
    if members is not None:
        members.pop(member, None)
        if not members:
            del table[key]
