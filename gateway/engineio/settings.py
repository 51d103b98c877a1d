"""Engine settings: how sessions are opened and kept alive. Limits are in `gateway.limits`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Settings", "Transport"]

Transport = Literal["polling", "websocket"]


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of an engine; times are in seconds, sizes in bytes.

    `max_payload` bounds one WebSocket message and one POST body. `cors_origins` says which pages
    may connect from a browser: those of the server's own origin, those of the origins listed, or
    any. `compression` offers permessage-deflate, and gzip for the answers to polls.
    """

    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    max_payload: int = 1_000_000
    transports: tuple[Transport, ...] = ("polling", "websocket")
    cors_origins: Literal["same-origin", "*"] | tuple[str, ...] = "same-origin"
    compression: bool = False
