"""The config: what gateway.yaml says, validated and frozen.

Names and defaults are those of `schema/gateway.schema.json`; a test holds the two equal.
Durations are seconds, sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from gateway.config.messages import KeyPath
from gateway.config.secrets import Secrets
from gateway.errors import Place, Problem
from gateway.limits import Limits, NamespaceLimits

__all__ = [
    "AcceptConfig",
    "AdminConfig",
    "ApiConfig",
    "ApiToken",
    "At",
    "BackendConfig",
    "BusTlsConfig",
    "ClusterConfig",
    "GatewayConfig",
    "ListenConfig",
    "ListenTlsConfig",
    "LogConfig",
    "LogLevel",
    "NamespaceConfig",
    "NatsConfig",
    "RedisConfig",
    "ReloadConfig",
    "RouteConfig",
    "Schema",
    "SentinelConfig",
    "ServerConfig",
    "SessionsConfig",
    "SpoolConfig",
    "StaticFolder",
    "TlsConfig",
    "Use",
]

Order = Literal["concurrent", "serial"]
Scope = Literal["member", "node", "cluster"]
AcceptSource = Literal["node", "emitter", "python-socketio"]
AcceptOperation = Literal["emit", "join", "leave", "disconnect", "publish", "list"]
LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class At:
    """The position of a value: its dotted path in the config and its place in a file."""

    path: str
    place: Place

    def problem(self, message: str) -> Problem:
        return Problem(self.place, self.path, message)

    def warning(self, message: str) -> Problem:
        return Problem(self.place, self.path, message, is_warning=True)


@dataclass(frozen=True, slots=True)
class Use:
    """A plugin by name, and the options it is made with.

    `option_at` has the position of each option. `is_whole` is false when the options have a
    problem of their own: then only the name can be checked. `scope` is that of a service.
    """

    name: str
    at: At
    options: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    option_at: Mapping[str, At] = field(default_factory=lambda: MappingProxyType({}))
    is_whole: bool = True
    scope: Scope = "member"


@dataclass(frozen=True, slots=True)
class Schema:
    """A JSON Schema for the arguments of an event, or a list with one for each, as written.

    `at` has the position of each part; `()` is the whole.
    """

    written: object
    at: Mapping[KeyPath, At]


@dataclass(frozen=True, slots=True)
class RouteConfig:
    """One event's handler. `timeout` and `order` of `None` are the namespace's.

    `middleware` is behind the packet chain. `max_values` is the most values that `schema` checks
    in one packet.
    """

    use: Use
    middleware: tuple[Use, ...] = ()
    timeout: float | None = None
    on_disconnect: Literal["continue", "cancel"] = "continue"
    order: Order | None = None
    schema: Schema | None = None
    max_values: int = 5_000


@dataclass(frozen=True, slots=True)
class NamespaceConfig:
    """One namespace; `routes` maps an event, a gateway event or `*` to its handler.

    `user` is the path to a socket's user, such as `data.user`. `is_whole` is false when routes
    with a problem are left out.
    """

    connection_middleware: tuple[Use, ...] = ()
    packet_middleware: tuple[Use, ...] = ()
    routes: Mapping[str, RouteConfig] = field(default_factory=lambda: MappingProxyType({}))
    connect_timeout: float = 20.0
    packet_timeout: float = 60.0
    order: Order = "concurrent"
    user: str | None = None
    limits: NamespaceLimits = field(default_factory=NamespaceLimits)
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """The certificate chain and its private key, both PEM files.

    `content` is what the two held when they were read; `None` if they were not, or could not be.
    """

    cert: Path
    key: Path
    content: tuple[bytes, bytes] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class StaticFolder:
    """A folder of pages, and the URL path that leads to it, which ends in a slash."""

    path: str
    folder: Path
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The public listener: `socket` with these permissions if there is one, else host and port.

    `trusted_proxies` are addresses, networks and `unix`, in the form that `ipaddress` writes.
    `workers` is the number of processes; with 1 there is no other process than the daemon's.
    """

    workers: int = 1
    host: str = "127.0.0.1"
    port: int = 7001
    socket: Path | None = None
    socket_mode: str = "0666"
    path: str = "/socket.io/"
    transports: tuple[Literal["polling", "websocket"], ...] = ("polling", "websocket")
    cors_origins: Literal["same-origin", "*"] | tuple[str, ...] = "same-origin"
    handshake_middleware: tuple[Use, ...] = ()
    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    max_payload: int = 1_000_000
    serializer: Literal["json", "msgpack"] = "json"
    compression: bool = False
    stop_timeout: float = 30.0
    tls: TlsConfig | None = None
    static: tuple[StaticFolder, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    proxy_protocol: bool = False


@dataclass(frozen=True, slots=True)
class ReloadConfig:
    """Settings for noticing and applying changes of the files."""

    watch: Literal["auto", "events", "poll", "off"] = "auto"
    quiet: float = 0.1
    poll_interval: float = 5.0
    load_timeout: float = 10.0
    drain: float = 30.0
    close_window: float = 5.0
    last_good: bool = False


@dataclass(frozen=True, slots=True)
class AdminConfig:
    """The admin listener's address: `socket` if there is one, else host and port."""

    host: str = "127.0.0.1"
    port: int = 7002
    socket: Path | None = None
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token of the api. `name` is for the log; `scopes` are such as `push:/shop` and `read`."""

    name: str
    token: str = field(repr=False)
    scopes: tuple[str, ...]

    def allows(self, what: Literal["push", "read"], namespace: str) -> bool:
        """True if it allows pushes to a namespace, or reading in it."""
        return what in self.scopes or f"{what}:{namespace}" in self.scopes


@dataclass(frozen=True, slots=True)
class ApiConfig:
    """The api listener's address: `socket` if there is one, else host and port.

    `hosts` are names by which it may be asked besides its own.
    """

    host: str = "127.0.0.1"
    port: int = 7003
    socket: Path | None = None
    tls: TlsConfig | None = None
    hosts: tuple[str, ...] = ()
    tokens: tuple[ApiToken, ...] = ()


@dataclass(frozen=True, slots=True)
class SpoolConfig:
    """Where messages about sockets wait; a `folder` of `None` is one in the user's state folder.

    `entries` and `bytes` of messages wait at most. `at` is the position of the block.
    """

    folder: Path | None = None
    entries: int = 200_000
    bytes: int = 64_000_000
    at: At = field(default=At("", Place("")), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class SessionsConfig:
    """What a backend is told of sockets that come and go, by requests to `path`.

    `namespaces` without any are all. `alive` is the time between two requests that tell which
    sockets are there.
    """

    notify: tuple[Literal["connect", "disconnect"], ...] = ("connect", "disconnect")
    namespaces: tuple[str, ...] = ()
    path: str = "/sessions"
    alive: float = 60.0
    spool: SpoolConfig = field(default_factory=SpoolConfig)


@dataclass(frozen=True, slots=True)
class BackendConfig:
    """An HTTP service that answers events.

    `url` has no slash at its end; `socket` is the Unix socket to reach it through, if there is one.
    `sign` are the keys that requests are signed with. `forward` and `set` are header fields, by
    their lower-case names, `auth` the keys of a client's `auth` that it is told. With `sessions` of
    `None` it is told nothing of sockets that come and go.
    """

    url: str
    socket: Path | None = None
    timeout: float = 5.0
    concurrency: int = 100
    queue: int = 1000
    sign: tuple[bytes, ...] = field(default=(), repr=False)
    forward: tuple[str, ...] = ()
    set: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    auth: tuple[str, ...] = ()
    breaker: bool = True
    format: Literal["json", "cloudevents"] = "json"
    max_answer: int = 1_000_000
    sessions: SessionsConfig | None = None

    @property
    def shown(self) -> str:
        """Where it is, as the file has it."""
        if self.socket is None:
            return self.url
        return f"unix:{self.socket}:{self.url.removeprefix('http://localhost')}".rstrip(":")


@dataclass(frozen=True, slots=True)
class LogConfig:
    """Settings of the log; a `format` of `None` is text.

    `levels` are by namespace, with its `/`, or by logger.
    """

    format: Literal["text", "json"] | None = None
    level: LogLevel = "info"
    levels: Mapping[str, LogLevel] = field(default_factory=lambda: MappingProxyType({}))

    def level_of(self, logger: str, namespace: str | None = None) -> LogLevel:
        """Return the level of what a logger says, about a namespace if it is about one.

        The namespace's own comes first, then that of the logger or the nearest one above it.
        """
        if namespace and namespace in self.levels:
            return self.levels[namespace]
        while logger and logger not in self.levels:
            logger = logger.rpartition(".")[0]
        return self.levels.get(logger, self.level)


@dataclass(frozen=True, slots=True)
class BusTlsConfig:
    """TLS to Redis: the authority that has signed its certificate, and a certificate of our own."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class SentinelConfig:
    """The Sentinels, each a host and a port, that know where the `master` is."""

    master: str
    hosts: tuple[tuple[str, int], ...]
    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RedisConfig:
    """Where Redis is. `path` is a Unix socket, which is used instead of host and port."""

    host: str = "127.0.0.1"
    port: int = 6379
    path: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    is_tls: bool = False
    tls: BusTlsConfig | None = None
    sentinel: SentinelConfig | None = None


@dataclass(frozen=True, slots=True)
class NatsConfig:
    """Where NATS is, by one URL or those of several servers, and who the gateway is there."""

    urls: tuple[str, ...]
    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    is_tls: bool = False
    tls: BusTlsConfig | None = None


@dataclass(frozen=True, slots=True)
class AcceptConfig:
    """What one kind of others may do; `None` is everything, or everywhere."""

    source: AcceptSource
    namespaces: tuple[str, ...] | None = None
    operations: tuple[AcceptOperation, ...] | None = None
    channel: str = "socketio"


@dataclass(frozen=True, slots=True)
class ListenTlsConfig:
    """TLS between members: a certificate, its key, and the authority that has signed all others."""

    cert: Path
    key: Path
    ca: Path


@dataclass(frozen=True, slots=True)
class ListenConfig:
    """Where members of other machines connect; `advertise` is the host that they are told."""

    host: str = "127.0.0.1"
    port: int = 0
    advertise: str = "127.0.0.1"
    secret: str = field(default="", repr=False)
    tls: ListenTlsConfig | None = None


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """A cluster by its name, and how its members reach each other: over Redis, or over NATS."""

    redis: RedisConfig | None = None
    nats: NatsConfig | None = None
    name: str = "socket.io"
    accept: tuple[AcceptConfig, ...] = ()
    readyz: Literal["always", "connected"] = "always"
    listen: ListenConfig | None = None


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """A whole gateway.yaml, its includes merged in.

    `plugins` are the plugin folders, resolved against the folder of `file`. `files` are the YAML
    files that were read and their content, `digest` is the SHA-256 of what they say with
    references filled in. `fingerprint` is that of what they say on all machines: before that,
    without secrets, and without where a machine listens and finds others. A snapshot adds plugins
    and pages to it. `globs` counts the files that each glob of `include` matched, by folder
    and pattern. `secrets` are the values that must not be shown. `warnings` are about what is
    valid, and most likely not meant. `backend_names` are all that the file has, also those with a
    problem.
    """

    file: Path
    at: At
    files: Mapping[Path, bytes] = field(repr=False)
    globs: Mapping[tuple[Path, str], int]
    digest: str
    secrets: Secrets
    server: ServerConfig
    reload: ReloadConfig
    limits: Limits
    admin: AdminConfig | None
    api: ApiConfig | None
    log: LogConfig
    cluster: ClusterConfig | None
    fingerprint: str
    plugins: tuple[tuple[Path, At], ...]
    services: Mapping[str, Use]
    namespaces: Mapping[str, NamespaceConfig]
    warnings: tuple[Problem, ...] = ()
    backends: Mapping[str, BackendConfig] = field(default_factory=lambda: MappingProxyType({}))
    backend_names: frozenset[str] = frozenset()
