"""The rooms: the sockets of each namespace and of each room in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

from gateway.api import Namespace, Socket
from gateway.engineio.session import Session
from gateway.errors import Reject
from gateway.limits import LimitName, Limits, NamespaceLimits
from gateway.runtime.connection import ACCEPTED, Connection

__all__ = ["Member", "Rooms"]


class Member(Connection):
    """A socket as the rooms see it.

    `session` carries its packets. `rooms` are those that it has joined, `None` for none.
    `is_in_own_room` is false once it has left the room that is named after its id.
    """

    __slots__ = ("is_in_own_room", "rooms", "session")

    def __init__(self, socket: Socket, scope: Namespace, session: Session) -> None:
        super().__init__(socket, scope)
        self.session = session
        self.rooms: set[str] | None = None
        self.is_in_own_room = True


_Members = dict[Member, None]
"""An ordered set."""


class Rooms:
    """Sockets by id; accepted sockets also by namespace and room.

    A socket that is still connecting may join rooms, but gets nothing that is sent to them. The
    room named after a socket's id, which only that socket is in, is not stored.
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
        """The number of sockets in each namespace, including those that are still connecting."""
        return +self._counts

    def limit(
        self, namespace: str, address: str, limits: Limits, own: NamespaceLimits
    ) -> LimitName | None:
        """The limit that forbids one more socket; `None` if there is none."""
        if len(self._by_id) >= limits.sockets or self._counts[namespace] >= own.sockets:
            return "sockets"
        here = self._addresses.get(address, 0)
        return "sockets_per_address" if here >= limits.sockets_per_address else None

    def add(self, member: Member) -> None:
        """Add a socket that begins to connect."""
        self._by_id[member.socket.id] = member
        self._counts[member.socket.namespace] += 1
        self._addresses[member.session.address] += 1

    def admit(self, member: Member) -> None:
        """Add an accepted socket to its namespace and rooms, so that emits reach it."""
        namespace = member.socket.namespace
        self._namespaces.setdefault(namespace, {})[member] = None
        for room in member.rooms or ():
            self._place(member, room)

    def remove(self, member: Member) -> None:
        """Forget a socket, if it is not forgotten yet; takes one step for each of its rooms.

        The socket's own set of rooms stays.
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
        """Add a socket to a room. Raises `Reject` for a room that is another socket's own."""
        if room == member.socket.id:
            member.is_in_own_room = True
            return
        if room in self._by_id:
            raise Reject("forbidden_room", "the room belongs to another socket")
        if member.rooms is None:
            member.rooms = set()
        member.rooms.add(room)
        if member.state is ACCEPTED:
            self._place(member, room)

    def leave(self, member: Member, room: str) -> None:
        """Remove a socket from a room, if it is in it."""
        if room == member.socket.id:
            member.is_in_own_room = False
        elif member.rooms is not None and room in member.rooms:
            member.rooms.remove(room)
            self._displace(member, room)

    def find(self, target: Namespace) -> Collection[Member]:
        """The accepted sockets of a target, each once."""
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
        return tuple(found)  # a copy: a slow client may leave while the caller sends to it

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
    """Remove a member from one of the sets in a table; an empty set is removed too."""
    members = table.get(key)
    if members is not None:
        members.pop(member, None)
        if not members:
            del table[key]
