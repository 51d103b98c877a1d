"""The rooms: the sockets of each namespace and of each room in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from gateway.api import Namespace, Socket, Value
from gateway.engineio.session import Session
from gateway.engineio.settings import Transport
from gateway.errors import Reject
from gateway.http.addresses import AddressCounts, SharedCounts
from gateway.limits import LimitName, Limits, NamespaceLimits
from gateway.runtime.connection import ACCEPTED, LEFT, Connection
from gateway.socketio.calls import Call
from gateway.users import is_user_room, user_room

__all__ = ["Member", "RoomWatch", "Rooms"]

READY = 2**14
"""Most bytes that may wait for a client that is ready for a volatile event."""


class Member(Connection):
    """A socket as the rooms see it.

    `session` carries its packets. `rooms` are those that it has joined, `None` for none.
    `is_in_own_room` is false once it has left the room that is named after its id. `calls` are
    those that it has yet to answer, by ack id; `None` means none. `last_ack` is the newest such id.
    """

    __slots__ = ("calls", "is_in_own_room", "last_ack", "rooms", "session")

    def __init__(self, socket: Socket, scope: Namespace, session: Session) -> None:
        super().__init__(socket, scope)
        self.session = session
        self.rooms: set[str] | None = None
        self.is_in_own_room = True
        self.calls: dict[int, Call] | None = None
        self.last_ack = 0

    def is_ready(self) -> bool:
        """True if a packet would leave at once: the client reads, and little waits before it.

        On polling, a GET has to wait for packets.
        """
        session, polling = self.session, self.session.polling
        reads = session.outbox.sink is not None or (polling is not None and polling.is_ready)
        return reads and self.state is ACCEPTED and session.buffered <= READY

    def leave_rooms(self) -> None:
        self.rooms, self.is_in_own_room = None, False
        self.socket._wire = GONE  # breaks a reference cycle

    # Read by plugins

    def room_names(self) -> frozenset[str]:
        own = (self.socket.id,) if self.is_in_own_room else ()
        return frozenset((*own, *(self.rooms or ())))

    def is_connected(self) -> bool:
        return self.state is ACCEPTED

    def transport(self) -> Transport | None:
        return None if self.state is LEFT else self.session.transport

    # Calls

    def expect(self, id: int, call: Call) -> None:
        """Expect an ack that answers a call; `id` is above `last_ack`."""
        if self.calls is None:
            self.calls = {}
        self.calls[id] = call
        self.last_ack = id

    def expect_no_more(self, id: int) -> None:
        """Ignore an ack, should it still come."""
        if self.calls is not None:
            self.calls.pop(id, None)

    def answer(self, data: list[Value], id: int, size: int) -> None:
        """Handle an ack of `size` bytes; one that nobody waits for is ignored."""
        call = self.calls.pop(id, None) if self.calls else None
        if call is not None and not call.take(self.socket.id, data, size):
            where = f"an answer in {self.socket.namespace} is dropped"
            self.session.count_limit("answer_buffer", where)

    def answer_none(self) -> None:
        """Let calls wait no longer for this socket, which is gone."""
        calls, self.calls = self.calls, None
        for call in (calls or {}).values():
            call.give_up(self.socket.id)


class _Gone:
    """The wire of a socket that is gone: it sends nothing and is in no room."""

    async def emit(self, event: str, args: Sequence[object], volatile: bool = False) -> None:
        return None

    async def drained(self) -> None:
        raise ConnectionError("the client is gone")

    async def call(self, event: str, args: Sequence[object], timeout: float) -> list[Value]:
        raise ConnectionError("the client is gone")

    async def join(self, rooms: Sequence[str]) -> None:
        return None

    async def leave(self, rooms: Sequence[str]) -> None:
        return None

    async def disconnect(self, close: bool = False) -> None:
        return None

    def room_names(self) -> frozenset[str]:
        return frozenset()

    def is_connected(self) -> bool:
        return False

    def transport(self) -> None:
        return None

    def siblings(self) -> tuple[Socket, ...]:
        return ()


GONE: Final = _Gone()


class RoomWatch(Protocol):
    """Hears of what accepted sockets enter and leave: see `gateway.socketio.presence`."""

    def entered(self, member: Member, rooms: Iterable[str | None]) -> None: ...

    def left(self, member: Member, room: str) -> None: ...

    def gone(self, member: Member) -> None: ...


_Members = dict[Member, None]
"""An ordered set."""


class Rooms:
    """Sockets by id; accepted sockets also by namespace and room.

    A socket that is still connecting may join rooms, but gets nothing that is sent to them. The
    room named after a socket's id, which only that socket is in, is not stored. That of a user is
    none of a socket's own `rooms`: plugins cannot have sockets join or leave it. `is_foreign`
    is true of such names of other members; `None` means that there are none.
    `presence` hears of what sockets enter and leave, `None` if that is kept of no namespace.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, Member] = {}
        self.is_foreign: Callable[[str], bool] | None = None
        self.presence: RoomWatch | None = None
        self._namespaces: dict[str, _Members] = {}
        self._rooms: dict[str, dict[str, _Members]] = {}
        self.addresses = AddressCounts()
        self.by_namespace = SharedCounts()
        self.by_user = SharedCounts()

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Member]:
        return iter(tuple(self._by_id.values()))

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of sockets in each namespace, including those that are still connecting."""
        return Counter(self.by_namespace)

    @property
    def total(self) -> int:
        """The number of sockets of this process and of others that share its limits."""
        return len(self._by_id) + self.addresses.others

    def limit(
        self, namespace: str, address: str, limits: Limits, own: NamespaceLimits
    ) -> LimitName | None:
        """The limit that forbids one more socket; `None` if there is none."""
        if self.total >= limits.sockets or self.by_namespace.in_all(namespace) >= own.sockets:
            return "sockets"
        here = self.addresses.of(address)
        return "sockets_per_address" if here >= limits.sockets_per_address else None

    def add(self, member: Member) -> None:
        """Add a socket that begins to connect."""
        self._by_id[member.socket.id] = member
        self.by_namespace.add_one(member.socket.namespace)
        self.addresses.enter(member.session.address)

    def admit(self, member: Member) -> None:
        """Add an accepted socket to its namespace and rooms, so that emits reach it."""
        namespace = member.socket.namespace
        self._namespaces.setdefault(namespace, {})[member] = None
        for room in member.rooms or ():
            self._place(member, room)
        if (user := member.socket.user) is not None:
            self._place(member, user_room(user))
            self.by_user.add_one(_user_key(namespace, user))
        if self.presence is not None:
            self.presence.entered(member, (None, *(member.rooms or ())))

    def names(self, namespace: str) -> Sequence[str]:
        """The rooms of a namespace, those of users among them."""
        return tuple(self._rooms.get(namespace, ()))

    def size(self, namespace: str, room: str) -> int:
        """The number of accepted sockets in a room."""
        return len(self._members(namespace, room))

    def sockets_of(self, user: str, namespace: str) -> int:
        """The number of accepted sockets of a user, here and elsewhere."""
        return self.by_user.in_all(_user_key(namespace, user))

    def remove(self, member: Member) -> None:
        """Forget a socket, if it is not forgotten yet; takes one step for each of its rooms.

        The socket's own set of rooms stays.
        """
        if self._by_id.pop(member.socket.id, None) is None:
            return
        namespace = member.socket.namespace
        self.by_namespace.take_one(namespace)
        self.addresses.leave(member.session.address)
        _discard(self._namespaces, namespace, member)
        for room in member.rooms or ():
            self._displace(member, room)
        if (user := member.socket.user) is not None:
            self._displace(member, user_room(user))
            self.by_user.take_one(_user_key(namespace, user))
        if self.presence is not None:
            self.presence.gone(member)

    def join(self, member: Member, rooms: Collection[str], limit: float) -> None:
        """Add a socket to rooms: to all of them, or to none. It may be in `limit` rooms.

        Raises `Reject` for too many rooms, and for a room that is another socket's own.
        """
        own, joined = member.socket.id, member.rooms or ()
        new = {room for room in rooms if room not in joined and room != own}
        if new and len(joined) + len(new) > limit:
            member.count_limit("rooms_per_socket", f"{limit} rooms")
            raise Reject("too_many_rooms", f"a socket may be in {limit} rooms")
        self.check_free(new)
        if own in rooms:
            member.is_in_own_room = True
        if member.rooms is None:
            member.rooms = set()
        member.rooms |= new
        if member.state is ACCEPTED:
            for room in new:
                self._place(member, room)
            if self.presence is not None:
                self.presence.entered(member, new)

    def check_free(self, rooms: Iterable[str]) -> None:
        """Raise `Reject` if one of the rooms is a socket's own, or a user's."""
        if any(room in self._by_id for room in rooms) or (
            self.is_foreign is not None and any(map(self.is_foreign, rooms))
        ):
            raise Reject("forbidden_room", "the room belongs to another socket")
        if any(map(is_user_room, rooms)):
            raise Reject("forbidden_room", "the room belongs to a user")

    def leave(self, member: Member, rooms: Iterable[str]) -> None:
        """Remove a socket from rooms, if it is in them."""
        for room in rooms:
            if room == member.socket.id:
                member.is_in_own_room = False
            elif member.rooms is not None and room in member.rooms:
                member.rooms.remove(room)
                self._displace(member, room)
                if self.presence is not None:
                    self.presence.left(member, room)

    def find(self, target: Namespace) -> Sequence[Member]:
        """The accepted sockets of a target, each once."""
        namespace, names = target.name, target.rooms
        if names is None:
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


def _user_key(namespace: str, user: str) -> str:
    return f"{namespace} {user}"  # no namespace has a blank in its name


def _discard(table: dict[str, _Members], key: str, member: Member) -> None:
    """Remove a member from one of the sets in a table; an empty set is removed too."""
    members = table.get(key)
    if members is not None:
        members.pop(member, None)
        if not members:
            del table[key]
