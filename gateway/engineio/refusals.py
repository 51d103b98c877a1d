"""Refusals: the error answers of Node's engine.io, which clients understand."""

from __future__ import annotations

from enum import Enum

from gateway.engineio.session import Session
from gateway.engineio.settings import Settings
from gateway.engineio.violations import Violation
from gateway.http.request import Request
from gateway.http.response import Answer, json_answer

__all__ = ["HINT", "LATER", "Refusal", "refuse", "verify"]

HINT = "this server speaks Engine.IO 4: use socket.io-client 3 or 4"

LATER = "Retry-After: 1\r\n"
"""The header field that tells a refused client to try again after 1 second."""


class Refusal(Enum):
    """The error codes of engine.io, each with its message and the violation it counts as."""

    UNKNOWN_TRANSPORT = 0, "Transport unknown", "unknown_transport"
    UNKNOWN_SESSION = 1, "Session ID unknown", "unknown_session"
    BAD_HANDSHAKE_METHOD = 2, "Bad handshake method", "bad_handshake_method"
    BAD_REQUEST = 3, "Bad request", "bad_request"
    FORBIDDEN = 4, "Forbidden", "forbidden"
    UNSUPPORTED_VERSION = 5, "Unsupported protocol version", "unsupported_version"

    def __init__(self, code: int, message: str, violation: Violation) -> None:
        self.code, self.message, self.violation = code, message, violation


def verify(
    request: Request, session: Session | None, settings: Settings, websocket_key: str | None
) -> Refusal | None:
    """Check a request in the order that engine.io does; `None` if it is valid.

    `session` is the session that the request names, `None` for none or an unknown one. `settings`
    apply to a session that it would open. `websocket_key` is `None` unless the request is a valid
    request for a WebSocket.
    """
    query, method = request.query, request.method
    transport = query.get("transport")
    if transport not in (settings if session is None else session.settings).transports:
        return Refusal.UNKNOWN_TRANSPORT
    if session is None and query.get("sid"):
        return Refusal.UNKNOWN_SESSION
    if session is None and method != "GET":
        return Refusal.BAD_HANDSHAKE_METHOD
    if method not in {"GET", "POST"} or (transport == "websocket" and websocket_key is None):
        return Refusal.BAD_REQUEST
    if transport == "polling" and session is not None and session.transport != "polling":
        return Refusal.BAD_REQUEST
    if query.get("EIO") == "4":
        return None
    return Refusal.UNSUPPORTED_VERSION if session is None else Refusal.BAD_REQUEST


def refuse(refusal: Refusal, fields: str) -> Answer:
    """The answer to a refused request: 403 if its origin is forbidden, 400 otherwise.

    A client whose protocol is too old gets a hint. `fields` are further header fields to send.
    """
    body: dict[str, object] = {"code": refusal.code, "message": refusal.message}
    if refusal is Refusal.UNSUPPORTED_VERSION:
        body["hint"] = HINT
    return json_answer(403 if refusal is Refusal.FORBIDDEN else 400, fields, body)
