"""What an engine is set to."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

__all__ = ["Settings", "Transport"]

Transport = Literal["polling", "websocket"]


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of an engine; times are seconds, sizes bytes.

    `max_payload` bounds one WebSocket message and one POST body. `upgrade_timeout` is what a
    client has to complete an upgrade it began, `request_timeout` to send the head of a request.
    `cors_origins` says who may connect from a browser: pages of the server's own origin, those of
    the origins listed, or any. `compression` offers permessage-deflate, and gzip for polls.

    `sessions` may be open at a time, `sessions_per_address` from one address, and that many may be
    opened in a second (`sessions_per_second`, which is also how many may come at once). What a
    client does not take is kept up to `send_buffer` bytes and `send_packets`; `on_slow` tells what
    becomes of one that takes no more: it is disconnected, or misses messages that may be dropped.
    `inf` stands for no bound.
    """

    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    max_payload: int = 1_000_000
    transports: tuple[Transport, ...] = ("polling", "websocket")
    cors_origins: Literal["same-origin", "*"] | tuple[str, ...] = "same-origin"
    upgrade_timeout: float = 10.0
    compression: bool = False
    sessions: float = inf
    sessions_per_address: float = inf
    sessions_per_second: float = inf
    request_timeout: float = 10.0
    send_buffer: float = inf
    send_packets: float = inf
    on_slow: Literal["disconnect", "drop_oldest", "drop_newest"] = "disconnect"
