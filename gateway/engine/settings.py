"""What an engine is set to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Settings", "Transport"]

Transport = Literal["polling", "websocket"]


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of an engine; times are seconds, sizes bytes.

    `max_payload` bounds one WebSocket message and one POST body. `upgrade_timeout` is what a
    client has to complete an upgrade it began. `cors_origins` says who may connect from a browser:
    pages of the server's own origin, those of the origins listed, or any. `compression` offers
    permessage-deflate, and gzip for polls.
    """

    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    max_payload: int = 1_000_000
    transports: tuple[Transport, ...] = ("polling", "websocket")
    cors_origins: Literal["same-origin", "*"] | tuple[str, ...] = "same-origin"
    upgrade_timeout: float = 10.0
    compression: bool = False
