"""The types that plugins work with: context, socket, namespace, gateway, services.

`gateway` re-exports them; plugins import nothing below it. The classes have no logic of their own:
they reach clients through `Wire` and `Emitter`, which the gateway provides.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, Union

from gateway.headers import AnswerHeaders, SameSite

__all__ = [
    "Context",
    "Emitter",
    "Gateway",
    "Handler",
    "Handshake",
    "HandshakeContext",
    "HandshakeMiddleware",
    "Middleware",
    "Namespace",
    "Next",
    "Services",
    "Socket",
    "Value",
    "Wire",
]

Value: TypeAlias = Union[bool, int, float, str, bytes, "list[Value]", "dict[str, Value]", None]
"""A value that a client can send: JSON, with `bytes` anywhere in it."""

Next: TypeAlias = Callable[[], Awaitable[None]]
"""Runs the rest of the chain. In a connection chain it returns when the socket is gone."""

Middleware: TypeAlias = "Callable[[Context, Next], Awaitable[None]]"
"""One link of a connection chain or a packet chain."""

HandshakeMiddleware: TypeAlias = "Callable[[HandshakeContext, Next], Awaitable[None]]"
"""One link of the handshake chain."""

Handler: TypeAlias = Callable[..., Awaitable[object]]
"""Answers one event. It is called with the context, then the event's arguments if it declares any.

Its return value is the ack: a tuple is several arguments, `None` is none.
"""


class Wire(Protocol):
    """Sends to one socket. If the socket is gone, nothing is sent and nothing is raised."""

    async def emit(self, event: str, args: Sequence[object]) -> None: ...

    async def call(self, event: str, args: Sequence[object], timeout: float) -> list[Value]: ...

    async def join(self, room: str) -> None: ...

    async def leave(self, room: str) -> None: ...

    async def disconnect(self) -> None: ...

    def room_names(self) -> frozenset[str]: ...


class Emitter(Protocol):
    """Sends to many sockets of a namespace at once."""

    async def broadcast(self, target: Namespace, event: str, args: Sequence[object]) -> None: ...

    async def disconnect_sockets(self, target: Namespace) -> None: ...

    def sockets(self, target: Namespace) -> tuple[Socket, ...]: ...


@dataclass(frozen=True, slots=True)
class Handshake:
    """The handshake of a socket: its first HTTP request, and its `auth`.

    `auth` is the client's `auth` option (`{}` if absent), `query` the first value of each query
    parameter, `headers` the header fields with lower-case names, `address` the client's address,
    `url` the path and query, `time` the time of the CONNECT packet in seconds since the epoch.
    `secure` is true if the connection uses TLS.
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


class Socket:
    """One client in one namespace.

    `data` is this connection's dict. It survives reloads and is still there after `next()` has
    returned, so keep plain data in it, not instances of plugin classes.
    """

    __slots__ = ("__weakref__", "_scope", "_wire", "data", "handshake", "id", "namespace")

    def __init__(self, id: str, scope: Namespace, handshake: Handshake, wire: Wire) -> None:
        self.id = id
        self.namespace = scope.name
        self.handshake = handshake
        self.data: dict[str, object] = {}
        self._scope = scope
        self._wire = wire

    def __repr__(self) -> str:
        return f"<Socket {self.id} in {self.namespace}>"

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms that the socket is in, including the one named after its id."""
        return self._wire.room_names()

    def emit(self, event: str, *args: object) -> Awaitable[None]:
        """Send an event to this client; before `next()`, it is sent once the client is accepted."""
        return self._wire.emit(event, args)

    def call(self, event: str, *args: object, timeout: float = 60.0) -> Awaitable[list[Value]]:
        """Send an event and return the arguments of the client's ack.

        Raises `TimeoutError` if no ack comes within `timeout` seconds, and `UsageError` before
        `next()`, when the client cannot answer yet.
        """
        return self._wire.call(event, args, timeout)

    def join(self, room: str) -> Awaitable[None]:
        """Join a room."""
        return self._wire.join(room)

    def leave(self, room: str) -> Awaitable[None]:
        """Leave a room."""
        return self._wire.leave(room)

    def to(self, *rooms: str) -> Namespace:
        """Select the sockets in these rooms, except this one."""
        return Namespace(self.namespace, self._scope._emitter, rooms, (self.id,))

    def disconnect(self) -> Awaitable[None]:
        """Disconnect this socket; before `next()`, refuse the connection."""
        return self._wire.disconnect()


@dataclass(frozen=True, slots=True)
class Namespace:
    """The sockets of a namespace: all of them, or some after `to` and `except_`.

    Empty `rooms` means the whole namespace; sockets in any room of `excluded` are left out.
    """

    name: str
    _emitter: Emitter = field(repr=False)
    rooms: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()

    def to(self, *rooms: str) -> Namespace:
        """Select the sockets in these rooms, in addition to rooms named before."""
        return replace(self, rooms=self.rooms + rooms)

    def except_(self, *rooms: str) -> Namespace:
        """Leave out the sockets in these rooms. A socket's id is a room with only that socket."""
        return replace(self, excluded=self.excluded + rooms)

    def emit(self, event: str, *args: object) -> Awaitable[None]:
        """Send an event to each of the sockets, once."""
        return self._emitter.broadcast(self, event, args)

    def sockets(self) -> tuple[Socket, ...]:
        """The sockets connected to this process."""
        return self._emitter.sockets(self)

    def disconnect_sockets(self) -> Awaitable[None]:
        """Disconnect each of the sockets."""
        return self._emitter.disconnect_sockets(self)


class Gateway:
    """Emits to any namespace, from anywhere. A service with a parameter `gateway` gets it."""

    __slots__ = ("_emitter",)

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter

    def of(self, namespace: str) -> Namespace:
        """The sockets of a namespace; a missing leading `/` is added."""
        return Namespace("/" + namespace.removeprefix("/"), self._emitter)


class Services:
    """The running services by name: `ctx.service.user` is what the factory of `user` returned."""

    __slots__ = ("_instances",)

    def __init__(self, instances: Mapping[str, object]) -> None:
        self._instances = instances

    def __getattr__(self, name: str) -> Any:  # `Any`, because only the YAML knows the type
        try:
            return self._instances[name]
        except KeyError:
            known = ", ".join(sorted(self._instances)) or "none"
            raise AttributeError(f"no service {name!r}; services: {known}") from None

    def __dir__(self) -> list[str]:
        return sorted(self._instances)


if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


class _Log(_Adapter):
    """Adds the socket, namespace and event to every record."""

    def process(
        self, msg: object, kwargs: MutableMapping[str, Any]
    ) -> tuple[object, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **kwargs.get("extra", {})}
        return msg, kwargs


LOG = logging.getLogger("sockgw.plugin")


class Context:
    """The context of one connection or one packet on its way through a chain.

    Every packet gets a new one. `event` is the event's name (`connect` in a connection chain),
    `args` its arguments, `state` a dict for this packet's middleware, `reply` what the ack will
    contain.
    """

    __slots__ = (
        "_at",
        "_end",
        "args",
        "event",
        "gateway",
        "namespace",
        "reply",
        "service",
        "socket",
        "state",
    )

    def __init__(
        self,
        socket: Socket,
        event: str,
        args: list[Value],
        service: Services,
        namespace: Namespace,
        gateway: Gateway,
    ) -> None:
        self.socket = socket
        self.event = event
        self.args = args
        self.service = service
        self.namespace = namespace
        self.gateway = gateway
        self.reply: object = None
        self.state: dict[str, object] = {}
        self._at = 0  # the number of links that have called next()
        self._end: Callable[[Context], Awaitable[None]]  # run by the last next()

    @property
    def packet(self) -> list[Value]:
        """The packet as it came: `[event, *args]`."""
        return [self.event, *self.args]

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that adds this socket, its namespace and the event to each record.

        It also adds the `request_id` in `state`, if there is one.
        """
        facts = {
            "socket": self.socket.id,
            "namespace": self.socket.namespace,
            "event": self.event,
        }
        if "request_id" in self.state:
            facts["request_id"] = str(self.state["request_id"])
        return _Log(LOG, facts)


class HandshakeContext:
    """The context of one handshake on its way through the handshake chain.

    `handshake` has no `auth` yet: that comes with each namespace. `headers` are added to the
    answer, whether it accepts or refuses. `data` is copied into the `data` of each socket that the
    client opens on this connection.
    """

    __slots__ = ("_at", "_end", "data", "gateway", "handshake", "headers", "service")

    def __init__(self, handshake: Handshake, service: Services, gateway: Gateway) -> None:
        self.handshake = handshake
        self.service = service
        self.gateway = gateway
        self.headers = AnswerHeaders()
        self.data: dict[str, object] = {}
        self._at = 0  # the number of links that have called next()
        self._end: Callable[[HandshakeContext], Awaitable[None]]  # run by the last next()

    def set_cookie(
        self,
        name: str,
        value: str,
        *,
        max_age: int | None = None,
        path: str = "/",
        domain: str | None = None,
        secure: bool | None = None,
        http_only: bool = True,
        same_site: SameSite = "lax",
    ) -> None:
        """Set a cookie on the answer, in place of one with the same name, path and domain.

        `max_age` is in seconds: 0 removes the cookie, with `None` it lasts until the browser is
        closed. `secure` of `None` is true over TLS, and for `same_site="none"`, which needs it.
        """
        if secure is None:
            secure = self.handshake.secure or same_site == "none"
        self.headers.set_cookie(
            name,
            value,
            max_age=max_age,
            path=path,
            domain=domain,
            secure=secure,
            http_only=http_only,
            same_site=same_site,
        )

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that adds the client's address to each record."""
        return _Log(LOG, {"address": self.handshake.address, "event": "handshake"})
