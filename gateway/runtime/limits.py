"""The bounds of a gateway and of a namespace, as the dispatcher and the transport ask for them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import inf
from typing import Self

__all__ = ["Limits", "NamespaceLimits"]


class Bounds:
    """Limits by name."""

    __slots__ = ()

    @classmethod
    def of(cls, written: object) -> Self:
        """The limits that `written` has under the same names; `None` is `inf`."""
        names = [each.name for each in fields(cls)]  # type: ignore[arg-type]
        given = {name: getattr(written, name) for name in names}
        return cls(**{name: inf if limit is None else limit for name, limit in given.items()})


@dataclass(frozen=True, slots=True)
class Limits(Bounds):
    """Of the whole gateway; `inf` is no bound.

    `sockets` in all and from one address; `handlers` are packets under way. A client that is in no
    namespace has `join_timeout` seconds; it may send `bytes_per_second`, and in a packet as many
    `attachments` and levels of nesting (`depth`). A gateway that runs `overload_after` seconds
    late takes nothing new.
    """

    sockets: float = inf
    sockets_per_address: float = inf
    handlers: float = inf
    bytes_per_second: float = inf
    attachments: float = inf
    depth: float = inf
    join_timeout: float = 45.0
    overload_after: float = inf


@dataclass(frozen=True, slots=True)
class NamespaceLimits(Bounds):
    """Of one namespace; `inf` is no bound. Those of one socket: packets under way, packets that
    are taken a second, rooms.
    """

    sockets: float = inf
    handlers: float = inf
    handlers_per_socket: float = inf
    packets_per_second: float = inf
    rooms_per_socket: float = inf
