"""The contexts that middleware and handlers are called with, and the services and backends.

`gateway` re-exports them; plugins import nothing below it.
"""

from __future__ import annotations

import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Generic, TypeAlias

from gateway.api import DataT, Gateway, Handshake, Namespace, Next, Socket, Value
from gateway.errors import Reject, UsageError
from gateway.headers import AnswerHeaders, SameSite

if sys.version_info >= (3, 13):
    from typing import TypeVar
else:
    from typing_extensions import TypeVar  # the one that takes a default

__all__ = [
    "Backend",
    "ClusterContext",
    "Context",
    "Emission",
    "HandshakeContext",
    "HandshakeMiddleware",
    "Middleware",
    "Presence",
    "Reply",
    "Services",
    "Tally",
]

# `Any`, because a chain takes middleware whatever types it has given to data and services.
Middleware: TypeAlias = "Callable[[Context[Any, Any], Next], Awaitable[None]]"
"""One link of a connection chain or a packet chain."""

HandshakeMiddleware: TypeAlias = "Callable[[HandshakeContext[Any, Any], Next], Awaitable[None]]"
"""One link of the handshake chain."""


@dataclass(frozen=True, slots=True)
class Presence:
    """Connection middleware that has the gateway keep who is present: see `builtin.presence`.

    It is kept of all `rooms`, of none or of those that fit one of several patterns, and with
    `namespace` of that too, `grace` seconds longer than somebody is there. `meta` is the path in a
    socket's data to what others are told of it; `None` is nothing. The first in a chain counts.
    """

    rooms: bool | tuple[str, ...] = True
    namespace: bool = False
    grace: float = 15.0
    meta: str | None = None

    async def __call__(self, ctx: Context, next: Next) -> None:
        await next()

    def keeps(self, room: str | None) -> bool:
        """True if presence is kept of a room; `None` is the whole namespace."""
        if room is None:
            return self.namespace
        if isinstance(self.rooms, bool):
            return self.rooms
        return any(fnmatchcase(room, pattern) for pattern in self.rooms)


MOST_COUNTED = 1_000_000_000
"""The most that a `Tally` counts at once."""


class Tally:
    """Tells the other workers what is counted here, and hears what they have counted.

    A factory of middleware or of a handler that has a parameter named `tally` gets one, which on
    every worker belongs to what the factory makes there of the same options. `heard` is called with
    a key and how often others have counted it, a moment later; the plugin sets it. With one process
    nobody is told, and nothing is heard. A worker that starts hears nothing of what was before.
    """

    __slots__ = ("__weakref__", "_name", "_tell", "heard")

    def __init__(self, name: str) -> None:
        self.heard: Callable[[str, int], None] = _hear_nothing
        self._name = name
        self._tell: Callable[[str, str, int], None] | None = None

    def add(self, key: str, count: int = 1) -> None:
        """Tell the others that a key was counted `count` times.

        Raises `TypeError` for a key that is no text, `ValueError` for a count of less than 1 or
        more than a billion.
        """
        if not isinstance(key, str):
            raise TypeError(f"the key of a tally is text, not {type(key).__name__}")
        if not 1 <= count <= MOST_COUNTED:
            raise ValueError(f"the count of a tally is 1 to {MOST_COUNTED}, not {count}")
        if self._tell is not None:
            self._tell(self._name, key, count)


ELSEWHERE = (
    "service {0!r} runs on another member, because of its scope: test {0!r} in ctx.service, "
    "and reach it with ctx.gateway.publish"
)


class Services:
    """The running services by name: `ctx.service.user` is what the factory of `user` returned.

    A service that another member runs, by its `scope`, raises `UsageError`; `"user" in ctx.service`
    is false for it. `elsewhere` are the names of those that may be such.
    """

    __slots__ = ("__weakref__", "_elsewhere", "_instances")

    def __init__(
        self, instances: MutableMapping[str, object], elsewhere: Collection[str] = ()
    ) -> None:
        self._instances = instances
        self._elsewhere = elsewhere

    def __getattr__(self, name: str) -> Any:  # `Any`, because only the YAML knows the type
        try:
            return self._instances[name]
        except KeyError:
            if name in self._elsewhere:
                raise UsageError(ELSEWHERE.format(name)) from None
            known = ", ".join(sorted(self._instances)) or "none"
            raise AttributeError(f"no service {name!r}; services: {known}") from None

    def __contains__(self, name: str) -> bool:
        return name in self._instances

    def __dir__(self) -> list[str]:
        return sorted(self._instances)


S = TypeVar("S", default=Services)
"""The type of `ctx.service`: a class or a `Protocol` whose attributes are the services."""


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


class Context(Generic[DataT, S]):
    """The context of one connection or one packet on its way through a chain.

    Every packet gets a new one. `event` is the event's name (`connect` in a connection chain),
    `args` its arguments, `state` a dict for this packet's middleware, `reply` what the ack will
    contain. `Context[Data, Services]` gives `socket.data` and `service` types of the plugin's own.
    """

    __slots__ = (
        "_at",
        "_end",
        "_has_ack",
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
        socket: Socket[DataT],
        event: str,
        args: list[Value],
        service: S,
        namespace: Namespace[DataT],
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
        self._has_ack: bool  # only if the client asked for one
        self._at = 0  # the number of links that have called next()
        self._end: Callable[[Context[DataT, S]], Awaitable[None]]  # run by the last next()

    @property
    def is_packet(self) -> bool:
        """True for what came from the client, false for a route of a gateway event."""
        return hasattr(self, "_end")  # a gateway event passes no chain that would need it

    @property
    def wants_ack(self) -> bool:
        """True if the client asked for an ack to this packet."""
        return hasattr(self, "_has_ack")  # set only then, since most packets want none

    @property
    def packet(self) -> list[Value]:
        """The packet as it came: `[event, *args]`."""
        return [self.event, *self.args]

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that adds this socket, its namespace and the event to each record.

        It also adds the `request_id` in `state`, if there is one.
        """
        facts = self._facts
        if "request_id" in self.state:
            facts["request_id"] = str(self.state["request_id"])
        return _Log(LOG, facts)

    @property
    def _facts(self) -> dict[str, str]:
        """What every record about this packet or connection has."""
        socket = self.socket
        facts = {"socket": socket.id, "namespace": socket.namespace, "event": self.event}
        return facts if socket.user is None else {**facts, "user": socket.user}


class ClusterContext(Context[DataT, S]):
    """The context of a `cluster` route, which runs for no socket."""

    __slots__ = ()

    def __init__(
        self, args: list[Value], service: S, namespace: Namespace[DataT], gateway: Gateway
    ) -> None:
        self.event = "cluster"
        self.args = args
        self.service = service
        self.namespace = namespace
        self.gateway = gateway
        self.reply = None
        self.state = {}
        self._at = 0

    @property
    def socket(self) -> Socket[DataT]:  # type: ignore[override]  # there is none to set
        """Raises `UsageError`."""
        raise UsageError("a 'cluster' route has no ctx.socket: use ctx.namespace or ctx.gateway")

    @property
    def _facts(self) -> dict[str, str]:
        return {"namespace": self.namespace.name, "event": self.event}


class HandshakeContext(Generic[DataT, S]):
    """The context of one handshake on its way through the handshake chain.

    `handshake` has no `auth` yet: that comes with each namespace. `headers` are added to the
    answer, whether it accepts or refuses. `data` is copied into the `data` of each socket that the
    client opens on this connection. `HandshakeContext[Data, Services]` is as of `Context`.
    """

    __slots__ = ("_at", "_end", "data", "gateway", "handshake", "headers", "service")

    def __init__(self, handshake: Handshake, service: S, gateway: Gateway) -> None:
        self.handshake = handshake
        self.service = service
        self.gateway = gateway
        self.headers = AnswerHeaders()
        self.data: DataT = {}  # type: ignore[assignment]  # a TypedDict is a dict at run time
        self._at = 0  # the number of links that have called next()
        self._end: Callable[[HandshakeContext[DataT, S]], Awaitable[None]]  # run by the last next()

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


@dataclass(frozen=True, slots=True)
class Emission:
    """An event that a backend asks the gateway to emit.

    `rooms` of `None` are all sockets of the namespace; an empty list with `to_socket` is the socket
    that the backend was asked about. `excluded` are rooms, or ids of sockets, that do not get it.
    """

    event: str
    args: tuple[Value, ...] = ()
    rooms: tuple[str, ...] | None = ()
    excluded: tuple[str, ...] = ()
    to_socket: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What a backend has answered.

    `ack` are the arguments of the ack, `error` is what the client gets instead. The others are
    what the backend asks for: a merge patch of `socket.data` (RFC 7396), rooms to join and to
    leave, events to emit, and to disconnect.
    """

    ack: tuple[Value, ...] = ()
    data: Mapping[str, Value] = field(default_factory=dict)
    join: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()
    emit: tuple[Emission, ...] = ()
    disconnect: bool = False
    error: Reject | None = None


AnyContext: TypeAlias = "Context[Any, Any]"


class Backend(ABC):
    """An HTTP service that answers events, from the `backends:` of the gateway.yaml.

    An option that is annotated with `Backend` takes the name of one.
    """

    __slots__ = ("__weakref__",)

    named_in = "backends"  # the block that has the names

    @abstractmethod
    async def call(
        self, ctx: AnyContext, path: str, *, type: str = "event", idempotent: bool = False
    ) -> Reply:
        """Tell the backend about a packet or a connection, and return what it answers.

        `path` follows the backend's URL and must not be made of what a client sends. `type` is what
        the backend finds in `type`. With `idempotent`, a request is repeated once though the
        backend may have got it. Raises `Reject` if the backend refuses, fails or is too late.
        """


def _hear_nothing(key: str, count: int) -> None:
    return None
