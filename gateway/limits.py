"""Every limit, once: its key in `gateway.yaml`, its default, its unit and what it bounds.

The config fills these classes; the engine, the sockets and the runtime read them. To add a limit,
add a field here, a key to `schema/gateway.schema.json` and a row to `docs/limits.md`; if clients
can meet it, add its name to `LimitName`.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from math import inf
from typing import Any, Literal, TypeVar, get_args

__all__ = [
    "LARGEST_FILE",
    "LIMIT_NAMES",
    "LimitName",
    "Limits",
    "NamespaceLimits",
    "OnSlow",
    "TokenBucket",
    "Unit",
    "bounded_by",
    "unit_of",
]

T = TypeVar("T")

LARGEST_FILE = 4_000_000
"""Bytes of a YAML file or a plugin file; of one that is larger no more is read."""

Unit = Literal["count", "size", "seconds", "choice"]
"""The way a limit is written: a whole number, bytes, a duration, or one of several words."""

OnSlow = Literal["disconnect", "drop_oldest", "drop_newest"]

LimitName = Literal[
    "answer_buffer",
    "attachments",
    "auth_size",
    "bytes_per_second",
    "connections",
    "connections_per_second",
    "depth",
    "forwarding",
    "handlers",
    "handlers_per_socket",
    "join_timeout",
    "overload_after",
    "packet_timeout",
    "packets_per_second",
    "presence",
    "refusals",
    "request_timeout",
    "rooms_per_socket",
    "send_buffer",
    "send_packets",
    "sockets",
    "sockets_per_address",
    "sockets_per_user",
    "upgrade_timeout",
]
"""Limits that are counted when a client meets them."""

LIMIT_NAMES: tuple[LimitName, ...] = get_args(LimitName)


def _limit(default: T, unit: Unit, bounds: str = "") -> T:
    """A field with its unit and, if being unlimited does harm, a phrase for what it bounds."""
    declared: Any = field(default=default, metadata={"unit": unit, "bounds": bounds})
    limit: T = declared
    return limit


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of the whole gateway; `inf` means unlimited, times are in seconds.

    `sockets` bounds sessions, and also the sockets of all namespaces together. `sockets_per_user`
    bounds the sockets that one user has in each namespace. `connections` bounds
    TCP connections; see `most_connections` for `None`. `handlers` bounds packets in flight,
    `depth` the nesting of arrays and objects in a packet. A gateway whose loop runs more than
    `overload_after` seconds late accepts nothing new.
    """

    sockets: float = _limit(50_000, "count", "how many may be connected")
    sockets_per_address: float = _limit(inf, "count")
    sockets_per_user: float = _limit(inf, "count")
    connections: float | None = _limit(None, "count", "how many connections may be open")
    connections_per_second: float = _limit(1_000, "count", "how many may connect in a second")
    request_timeout: float = _limit(10.0, "seconds")
    keepalive_timeout: float = _limit(75.0, "seconds", "how long a connection may be idle")
    join_timeout: float = _limit(45.0, "seconds")
    upgrade_timeout: float = _limit(10.0, "seconds")
    auth_size: float = _limit(32_000, "size", "the auth of a CONNECT")
    refusals: float = _limit(20, "count", "the CONNECTs that are refused, one after the other")
    attachments: int = _limit(10, "count")
    depth: int = _limit(200, "count")
    packets_per_second: float = _limit(10_000, "count", "the packets of one socket in a second")
    bytes_per_second: float = _limit(50_000_000, "size", "the bytes of one connection in a second")
    handlers: float = _limit(10_000, "count", "the packets in flight")
    handlers_per_socket: float = _limit(1_000, "count", "the packets of one socket in flight")
    rooms_per_socket: float = _limit(10_000, "count", "the rooms of one socket")
    presence: float = _limit(20_000, "count", "who is listed as present")
    answer_buffer: float = _limit(16_000_000, "size", "the bytes of the answers to one call")
    send_buffer: float = _limit(
        4_000_000, "size", "the bytes that wait for a client that does not read"
    )
    send_packets: float = _limit(
        10_000, "count", "the packets that wait for a client that does not read"
    )
    on_slow: OnSlow = field(default="disconnect", metadata={"unit": "choice", "bounds": ""})
    static_size: float = _limit(64_000_000, "size", "the bytes of all pages")
    static_files: float = _limit(10_000, "count", "how many files and folders of pages there are")
    overload_after: float = _limit(1.0, "seconds", "how late the gateway may run")

    @property
    def most_connections(self) -> float:
        """`connections`, or by default two for each of `sockets`, as polling needs, and 1,000."""
        return 2 * self.sockets + 1000 if self.connections is None else self.connections


@dataclass(frozen=True, slots=True)
class NamespaceLimits:
    """The limits of one namespace; `inf` means unlimited.

    The last three hold for one socket. Where the file does not set these, or `sockets_per_user`,
    for the namespace, they are the gateway's.
    """

    sockets: float = _limit(inf, "count")
    sockets_per_user: float = _limit(inf, "count")
    handlers: float = _limit(inf, "count")
    handlers_per_socket: float = _limit(1_000, "count", "the packets of one socket in flight")
    packets_per_second: float = _limit(10_000, "count", "the packets of one socket in a second")
    rooms_per_socket: float = _limit(10_000, "count", "the rooms of one socket")


def unit_of(limit: Field[Any]) -> Unit:
    """The unit of a field of `Limits` or `NamespaceLimits`."""
    unit: Unit = limit.metadata["unit"]
    return unit


def bounded_by(name: str) -> str:
    """A phrase for what a limit bounds; empty if going without it does no harm."""
    declared = {each.name: each.metadata["bounds"] for each in fields(Limits)}
    return str(declared.get(name, ""))


class TokenBucket:
    """Tokens that arrive at a steady rate; the bucket holds those of one second."""

    __slots__ = ("_at", "tokens")

    def __init__(self) -> None:
        self.tokens = 0.0
        self._at = -1.0

    def refill(self, rate: float, now: float) -> float:
        """Add the tokens that arrived until `now`, and return the seconds until none is owed.

        `rate` is in tokens per second, `now` in seconds. The wait is 0 if the rate is unlimited.
        """
        if rate == inf:
            self.tokens = inf
            return 0.0
        self.tokens = min(rate, self.tokens + (now - self._at) * rate)
        self._at = now
        return max(0.0, -self.tokens / rate)
