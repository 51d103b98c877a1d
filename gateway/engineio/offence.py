"""What clients do that they may not."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["KINDS", "Offence"]

Offence = Literal[
    "http",
    "unknown_transport",
    "unknown_session",
    "bad_handshake_method",
    "bad_request",
    "forbidden",
    "unsupported_version",
    "too_large",
    "overlap",
    "upgrade",
    "frame",
    "engine_packet",
    "packet",
]
"""Bytes that are no HTTP request; the refusals of engine.io; a body or message over the limit; a
second request, or WebSocket, where a session may have one; an attempt to upgrade that is none; a
WebSocket frame, an Engine.IO packet, a Socket.IO packet that the protocol does not allow."""

KINDS: tuple[Offence, ...] = get_args(Offence)
