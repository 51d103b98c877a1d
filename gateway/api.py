"""The types that plugins work with: socket, namespace, gateway.

`gateway` re-exports them; plugins import nothing below it. The classes have no logic of their own:
they reach clients through `Wire` and `Emitter`, which the gateway provides.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Generic, Literal, Protocol, TypeAlias, Union, overload

from gateway.users import UserNames, user_rooms

if sys.version_info >= (3, 13):
    from typing import TypeVar
else:
    from typing_extensions import TypeVar  # the one that takes a default

__all__ = [
    "Answers",
    "DataT",
    "Delivery",
    "Emitter",
    "Gateway",
    "Handler",
    "Handshake",
    "Member",
    "Namespace",
    "Next",
    "Present",
    "Socket",
    "Sockets",
    "Value",
    "Volatile",
    "Wire",
]

Value: TypeAlias = Union[bool, int, float, str, bytes, "list[Value]", "dict[str, Value]", None]
"""A value that a client can send: JSON, with `bytes` anywhere in it."""

Next: TypeAlias = Callable[[], Awaitable[None]]
"""Runs the rest of the chain. In a connection chain it returns when the socket is gone."""

DataT = TypeVar("DataT", bound=Mapping[str, object], default=dict[str, object])
"""The type of a connection's `data`: a dict, or a `TypedDict` of the plugin's own."""

Handler: TypeAlias = Callable[..., Awaitable[object]]
"""Answers one event. It is called with the context, then the event's arguments if it declares any.

Its return value is the ack: a tuple is several arguments, `None` is none.
"""

Transport: TypeAlias = Literal["polling", "websocket"]

RoomNames: TypeAlias = str | list[str] | tuple[str, ...] | set[str] | frozenset[str]
"""A room, or several."""


class Wire(Protocol):
    """Sends to one socket. If the socket is gone, nothing is sent.

    Of a socket that is gone, only `call` and `drained` raise: `ConnectionError`.
    """

    async def emit(self, event: str, args: Sequence[object], volatile: bool = False) -> None: ...

    async def drained(self) -> None: ...

    async def call(self, event: str, args: Sequence[object], timeout: float) -> list[Value]: ...

    async def join(self, rooms: Sequence[str]) -> None: ...

    async def leave(self, rooms: Sequence[str]) -> None: ...

    async def disconnect(self, close: bool = False) -> None: ...

    def room_names(self) -> frozenset[str]: ...

    def is_connected(self) -> bool: ...

    def transport(self) -> Transport | None: ...

    def siblings(self) -> tuple[Socket, ...]: ...


class Emitter(Protocol):
    """Sends to many sockets of a namespace at once, whatever type their data has.

    It reaches those of all members. `timeout` is in seconds and bounds the wait for other members.
    """

    @property
    def member(self) -> Member: ...

    async def broadcast(self, target: AnyTarget, event: str, args: Sequence[object]) -> None: ...

    async def confirm(
        self, target: AnyTarget, event: str, args: Sequence[object], timeout: float
    ) -> Delivery: ...

    async def call(
        self, target: AnyTarget, event: str, args: Sequence[object], timeout: float
    ) -> Answers: ...

    async def join(self, target: AnyTarget, rooms: Sequence[str]) -> None: ...

    async def leave(self, target: AnyTarget, rooms: Sequence[str]) -> None: ...

    async def disconnect_sockets(self, target: AnyTarget, close: bool) -> None: ...

    async def sockets(self, target: AnyTarget, timeout: float) -> AnySockets: ...

    async def count(self, target: AnyTarget, timeout: float) -> int: ...

    async def present(self, target: AnyTarget) -> list[Present]: ...

    async def publish(self, event: str, args: Sequence[object]) -> None: ...


AnyTarget: TypeAlias = "Namespace[Any]"
AnySockets: TypeAlias = "Sockets[Any]"


@dataclass(frozen=True, slots=True)
class Member:
    """A member: one process of the gateway, with the sockets that are connected to it.

    `tag` begins the ids of its sockets; with one process it is empty. `number` is that of the
    worker, from 1; one that replaces another has the same. `node` is the name of the machine.
    """

    tag: str
    number: int
    node: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of an event that was emitted with `confirm=True`.

    `recipients` is the number of sockets that it was sent to, by the tag of their member. `missing`
    are the tags of the members that did not confirm it in time: it may have reached them or not.
    """

    recipients: Mapping[str, int]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of several sockets to one `call`.

    `answers` has the arguments of each socket's ack, by socket id. `missing` are the ids of the
    sockets that did not answer: in time, or because they left. `missing_members` are the tags of
    the members that did not tell what their sockets answered.
    """

    answers: Mapping[str, list[Value]]
    missing: tuple[str, ...] = ()
    missing_members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Present:
    """Somebody in a room or a namespace: a `user`, however many sockets of it are there.

    Of a socket without a user the `id` is told instead; `None` is the other one. `meta` is what
    `builtin.presence` was told to tell, `None` if that is nothing.
    """

    user: str | None
    id: str | None = None
    meta: Value = None

    def as_dict(self) -> dict[str, Value]:
        """Return it as clients get it: with `user` or `id`, and with `meta` if there is one."""
        told: dict[str, Value] = {"id": self.id} if self.user is None else {"user": self.user}
        return told if self.meta is None else {**told, "meta": self.meta}


@dataclass(frozen=True, slots=True)
class Handshake:
    """The handshake of a socket: its first HTTP request, and its `auth`.

    `auth` is the client's `auth` option (`{}` if absent), `query` the first value of each query
    parameter, `headers` the header fields with lower-case names, `address` the client's address,
    `url` the path and query, `time` the time of the CONNECT packet in seconds since the epoch.
    `secure` is true if the client uses TLS. Both are what `server.trusted_proxies` tell.
    """

    auth: Mapping[str, Value] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    url: str = ""
    time: float = 0.0
    secure: bool = False

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that the client sent; of two with one name, the first."""
        cookies: dict[str, str] = {}
        for pair in self.headers.get("cookie", "").split(";"):
            name, equals, value = pair.strip(" \t").partition("=")
            if equals:
                cookies.setdefault(name, value)
        return cookies


class Socket(Generic[DataT]):
    """One client in one namespace.

    `data` is this connection's dict. It survives reloads and is still there after `next()` has
    returned, so keep plain data in it, not instances of plugin classes.

    `user` is who this is: what the namespace's `user` finds in `data` when the socket is accepted,
    and so it stays. It is `None` before that, and where there is nothing.

    A socket of another member, as `Namespace.sockets` finds it, is a view: its `data`, which cannot
    be changed, its `rooms` and `connected` are as they were when it was found, and of its
    `handshake` only the `address` is known.
    """

    __slots__ = ("__weakref__", "_scope", "_wire", "data", "handshake", "id", "namespace", "user")

    def __init__(self, id: str, scope: Namespace[DataT], handshake: Handshake, wire: Wire) -> None:
        self.id = id
        self.namespace = scope.name
        self.handshake = handshake
        self.data: DataT = {}  # type: ignore[assignment]  # a TypedDict is a dict at run time
        self.user: str | None = None
        self._scope = scope
        self._wire = wire

    def __repr__(self) -> str:
        return f"<Socket {self.id} in {self.namespace}>"

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms that the socket is in, including the one named after its id."""
        return self._wire.room_names()

    @property
    def connected(self) -> bool:
        """True from the moment the client is accepted until it is gone."""
        return self._wire.is_connected()

    @property
    def transport(self) -> Transport | None:
        """The transport in use now, which an upgrade changes; `None` once the socket is gone."""
        return self._wire.transport()

    @property
    def siblings(self) -> tuple[Socket, ...]:
        """The other connected sockets of the same connection, each in a namespace of its own."""
        return self._wire.siblings()

    def emit(self, event: str, *args: object) -> Awaitable[None]:
        """Send an event to this client; before `next()`, it is sent once the client is accepted."""
        return self._wire.emit(event, args)

    def drained(self) -> Awaitable[None]:
        """Wait while a quarter of `limits.send_buffer` or `limits.send_packets` waits to be read.

        Await it between the events of a stream, or a client that reads more slowly is disconnected.
        Raises `ConnectionError` if the client is gone, and `UsageError` before `next()`.
        """
        return self._wire.drained()

    @property
    def volatile(self) -> Volatile:
        """Sends to this client only what it can take at once."""
        return Volatile(self._wire)

    def call(self, event: str, *args: object, timeout: float = 60.0) -> Awaitable[list[Value]]:
        """Send an event and return the arguments of the client's ack.

        Raises `TimeoutError` if no ack comes within `timeout` seconds, and `UsageError` before
        `next()`, when the client cannot answer yet.
        """
        return self._wire.call(event, args, timeout)

    def join(self, *rooms: RoomNames) -> Awaitable[None]:
        """Join rooms: all of them, or none.

        Raises `Reject` with the code `forbidden_room` if one is named after another socket's id,
        and `too_many_rooms` if the socket would be in more than `limits.rooms_per_socket`.
        """
        return self._wire.join(_names(rooms))

    def leave(self, *rooms: RoomNames) -> Awaitable[None]:
        """Leave rooms; those that it is not in are ignored."""
        return self._wire.leave(_names(rooms))

    def to(self, *rooms: RoomNames) -> Namespace[DataT]:
        """Select the sockets in these rooms, except this one."""
        return Namespace(self.namespace, self._scope._emitter, _names(rooms), (self.id,))

    def except_(self, *rooms: RoomNames) -> Namespace[DataT]:
        """Select the sockets of the namespace that are not in these rooms, except this one."""
        excluded = (self.id, *_names(rooms))
        return Namespace(self.namespace, self._scope._emitter, excluded=excluded)

    @property
    def broadcast(self) -> Namespace[DataT]:
        """The sockets of the namespace, except this one."""
        return Namespace(self.namespace, self._scope._emitter, excluded=(self.id,))

    def disconnect(self, close: bool = False) -> Awaitable[None]:
        """Disconnect this socket; before `next()`, refuse the connection.

        With `close`, disconnect all sockets of its connection and close that too.
        """
        return self._wire.disconnect(close)


class Sockets(list[Socket[DataT]]):
    """A list of sockets. `missing` are the tags of the members that did not tell theirs."""

    __slots__ = ("missing",)

    def __init__(
        self, sockets: Iterable[Socket[DataT]] = (), missing: tuple[str, ...] = ()
    ) -> None:
        super().__init__(sockets)
        self.missing = missing


class Volatile:
    """Sends to one client only what it can take at once; see `Socket.volatile`."""

    __slots__ = ("_wire",)

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def emit(self, event: str, *args: object) -> Awaitable[None]:
        """Send an event, or drop it if the client is not ready for it."""
        return self._wire.emit(event, args, volatile=True)


@dataclass(frozen=True, slots=True)
class Namespace(Generic[DataT]):
    """The sockets of a namespace: all of them, or some after `to` and `except_`.

    `rooms` is `None` for the whole namespace, and empty for nobody. Sockets in any room of
    `excluded` are left out. With `is_volatile`, an event is dropped for clients not ready for it.
    """

    name: str
    _emitter: Emitter = field(repr=False)
    rooms: tuple[str, ...] | None = None
    excluded: tuple[str, ...] = ()
    is_volatile: bool = False

    def to(self, *rooms: RoomNames) -> Namespace[DataT]:
        """Select the sockets in these rooms, in addition to rooms named before."""
        return replace(self, rooms=(self.rooms or ()) + _names(rooms))

    def except_(self, *rooms: RoomNames) -> Namespace[DataT]:
        """Leave out the sockets in these rooms. A socket's id is a room with only that socket."""
        return replace(self, excluded=self.excluded + _names(rooms))

    def user(self, *names: UserNames) -> Namespace[DataT]:
        """Select the sockets of these users, in addition to rooms and users named before.

        Raises `TypeError` for `None`: a socket without a user is not meant.
        """
        return replace(self, rooms=(self.rooms or ()) + user_rooms(names))

    def except_user(self, *names: UserNames) -> Namespace[DataT]:
        """Leave out the sockets of these users."""
        return replace(self, excluded=self.excluded + user_rooms(names))

    @property
    def volatile(self) -> Namespace[DataT]:
        """The same sockets; an event that is emitted is dropped for clients not ready for it."""
        return replace(self, is_volatile=True)

    @overload
    def emit(self, event: str, *args: object) -> Awaitable[None]: ...

    @overload
    def emit(
        self, event: str, *args: object, confirm: Literal[True], timeout: float = 5.0
    ) -> Awaitable[Delivery]: ...

    def emit(
        self, event: str, *args: object, confirm: bool = False, timeout: float = 5.0
    ) -> Awaitable[Delivery | None]:
        """Send an event to each of the sockets, once.

        It returns when the sockets of this member were sent the event, and the other members will
        be told. With `confirm`, it waits until they have sent it too, at most `timeout` seconds.
        """
        if confirm:
            return self._emitter.confirm(self, event, args, timeout)
        return self._emitter.broadcast(self, event, args)

    def call(self, event: str, *args: object, timeout: float = 5.0) -> Awaitable[Answers]:
        """Send an event to each of the sockets and return their answers.

        It takes until the last has answered or left, at most `timeout` seconds, and half a second
        more if a member does not answer. Sockets and members without an answer are named; nothing
        is raised for them.
        """
        return self._emitter.call(self, event, args, timeout)

    def join(self, *rooms: RoomNames) -> Awaitable[None]:
        """Have each of the sockets join rooms.

        It returns when all members have done so; one that does not say so within two seconds is
        logged. The same is true of `leave` and `disconnect_sockets`.

        A socket that would be in more rooms than `limits.rooms_per_socket` allows joins none of
        them. Raises `Reject` with the code `forbidden_room` if a room is named after a socket's id.
        """
        return self._emitter.join(self, _names(rooms))

    def leave(self, *rooms: RoomNames) -> Awaitable[None]:
        """Have each of the sockets leave rooms."""
        return self._emitter.leave(self, _names(rooms))

    def sockets(self, timeout: float = 5.0) -> Awaitable[Sockets[DataT]]:
        """Return the connected sockets of all members, waiting for at most `timeout` seconds.

        Those of other members are views, see `Socket`.
        """
        return self._emitter.sockets(self, timeout)

    def count(self, timeout: float = 5.0) -> Awaitable[int]:
        """Count the sockets. A member that does not answer within `timeout` seconds adds none."""
        return self._emitter.count(self, timeout)

    def present(self) -> Awaitable[list[Present]]:
        """Return who is in the rooms, or in the namespace, each user once: see `builtin.presence`.

        Raises `UsageError` if that is not kept.
        """
        return self._emitter.present(self)

    def disconnect_sockets(self, close: bool = False) -> Awaitable[None]:
        """Disconnect each of the sockets; with `close`, close their connections too."""
        return self._emitter.disconnect_sockets(self, close)


def _names(rooms: tuple[RoomNames, ...]) -> tuple[str, ...]:
    if len(rooms) == 1 and isinstance(rooms[0], str):
        return (rooms[0],)
    several = (list, tuple, set, frozenset)
    names = (room if isinstance(room, several) else (room,) for room in rooms)
    return tuple(chain.from_iterable(names))


class Gateway:
    """Emits to any namespace, from anywhere. A service with a parameter `gateway` gets it."""

    __slots__ = ("_emitter",)

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter

    def of(self, namespace: str) -> Namespace:
        """The sockets of a namespace; a missing leading `/` is added."""
        return Namespace("/" + namespace.removeprefix("/"), self._emitter)

    @property
    def member(self) -> Member:
        """The member that this code runs on."""
        return self._emitter.member

    def publish(self, event: str, *args: object) -> Awaitable[None]:
        """Run the `cluster` routes of all members, this one included, with `[event, *args]`.

        It does not wait for them. Raises `TypeError` or `ValueError` for what cannot be sent.
        """
        return self._emitter.publish(event, args)
