"""How a request is refused: Node's engine.io answers, which its clients know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import IntEnum

from aiohttp import hdrs, web

from gateway.engineio.head import Head
from gateway.engineio.session import Session
from gateway.engineio.settings import Settings
from gateway.engineio.violations import Violation

__all__ = ["HINT", "Refusal", "refuse", "too_large", "verify"]

METHODS = (hdrs.METH_GET, hdrs.METH_POST)


class Refusal(IntEnum):
    """The codes of engine.io."""

    UNKNOWN_TRANSPORT = 0
    UNKNOWN_SESSION = 1
    BAD_HANDSHAKE_METHOD = 2
    BAD_REQUEST = 3
    FORBIDDEN = 4
    UNSUPPORTED_VERSION = 5

    @property
    def kind(self) -> Violation:
        """What the client is counted for."""
        return VIOLATIONS[self]


VIOLATIONS: Mapping[Refusal, Violation] = {
    Refusal.UNKNOWN_TRANSPORT: "unknown_transport",
    Refusal.UNKNOWN_SESSION: "unknown_session",
    Refusal.BAD_HANDSHAKE_METHOD: "bad_handshake_method",
    Refusal.BAD_REQUEST: "bad_request",
    Refusal.FORBIDDEN: "forbidden",
    Refusal.UNSUPPORTED_VERSION: "unsupported_version",
}

MESSAGES = {
    Refusal.UNKNOWN_TRANSPORT: "Transport unknown",
    Refusal.UNKNOWN_SESSION: "Session ID unknown",
    Refusal.BAD_HANDSHAKE_METHOD: "Bad handshake method",
    Refusal.BAD_REQUEST: "Bad request",
    Refusal.FORBIDDEN: "Forbidden",
    Refusal.UNSUPPORTED_VERSION: "Unsupported protocol version",
}

HINT = "this server speaks Engine.IO 4: use socket.io-client 3 or 4"


def verify(head: Head, session: Session | None, settings: Settings) -> Refusal | None:
    """What is wrong with a request, in the order that engine.io looks.

    `session` is the one that it names; `settings` are those of one that it may open.
    """
    transport = head.query.get("transport")
    if transport not in (settings if session is None else session.settings).transports:
        return Refusal.UNKNOWN_TRANSPORT
    if session is None and head.query.get("sid"):
        return Refusal.UNKNOWN_SESSION
    if session is None and head.method != hdrs.METH_GET:
        return Refusal.BAD_HANDSHAKE_METHOD
    if head.method not in METHODS or (transport == "websocket" and head.key is None):
        return Refusal.BAD_REQUEST
    if transport == "polling" and session is not None and session.transport != "polling":
        return Refusal.BAD_REQUEST
    if head.query.get("EIO") == "4":
        return None
    return Refusal.UNSUPPORTED_VERSION if session is None else Refusal.BAD_REQUEST


def refuse(refusal: Refusal, headers: Mapping[str, str]) -> web.Response:
    """Answer 403 to the forbidden, 400 to all else; a version that is too old gets a hint."""
    body: dict[str, object] = {"code": refusal.value, "message": MESSAGES[refusal]}
    if refusal is Refusal.UNSUPPORTED_VERSION:
        body["hint"] = HINT
    return web.Response(
        status=403 if refusal is Refusal.FORBIDDEN else 400,
        headers={**headers, "Content-Type": "application/json"},
        body=json.dumps(body, separators=(",", ":")).encode(),
    )


def too_large(headers: Mapping[str, str]) -> web.Response:
    """Answer 413, and close the connection: the rest of the body is not worth reading."""
    response = web.Response(status=413, headers=headers)
    response.force_close()
    return response
