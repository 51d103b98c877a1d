"""The bounds that clients meet, by their keys in gateway.yaml."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["LIMITS", "Limit"]

Limit = Literal[
    "attachments",
    "bytes_per_second",
    "connections_per_second",
    "depth",
    "handlers",
    "handlers_per_socket",
    "join_timeout",
    "overload_after",
    "packets_per_second",
    "request_timeout",
    "rooms_per_socket",
    "send_buffer",
    "sockets",
    "sockets_per_address",
    "upgrade_timeout",
]
"""Keys of `limits`; what `send_packets` bounds counts as `send_buffer`."""

LIMITS: tuple[Limit, ...] = get_args(Limit)
