"""The bounds of a gateway and of a namespace, as the dispatcher and the transport ask for them."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

__all__ = ["Limits", "NamespaceLimits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Of the whole gateway; `inf` is no bound.

    `sockets` in all and from one address; `handlers` are packets under way; a client that is in no
    namespace has `join_timeout` seconds, and may send `bytes_per_second`. A gateway that runs
    `overload_after` seconds late takes nothing new.
    """

    sockets: float = inf
    sockets_per_address: float = inf
    handlers: float = inf
    bytes_per_second: float = inf
    join_timeout: float = 45.0
    overload_after: float = inf


@dataclass(frozen=True, slots=True)
class NamespaceLimits:
    """Of one namespace; `inf` is no bound. Those of one socket: packets under way, packets that
    are taken a second, rooms.
    """

    sockets: float = inf
    handlers: float = inf
    handlers_per_socket: float = inf
    packets_per_second: float = inf
    rooms_per_socket: float = inf
