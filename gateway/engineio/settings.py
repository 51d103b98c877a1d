"""Engine settings, for opening sessions and keeping them alive. See `gateway.limits` for limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Settings", "Transport"]

Transport = Literal["polling", "websocket"]


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of an engine; times are in seconds, sizes in bytes.

    `max_payload` bounds one WebSocket message and one POST body. `cors_origins` are the origins
    whose pages may connect: the server's own, those listed, or all. `compression` offers
    permessage-deflate, and gzip for the answers to polls. `trusted_proxies` are addresses, networks
    and `unix`.
    """

    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    max_payload: int = 1_000_000
    transports: tuple[Transport, ...] = ("polling", "websocket")
    cors_origins: Literal["same-origin", "*"] | tuple[str, ...] = "same-origin"
    compression: bool = False
    trusted_proxies: tuple[str, ...] = ()
