"""Refusals: the error answers of Node's engine.io, which clients understand."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import get_args

from gateway.engineio.session import Session
from gateway.engineio.settings import Settings, Transport
from gateway.engineio.violations import RefusedThing, Violation
from gateway.http.request import Request
from gateway.http.response import Answer, json_answer

__all__ = [
    "LATER",
    "NO_SERVER",
    "Cause",
    "Refusal",
    "busy",
    "cause_of",
    "refuse",
    "too_large",
    "verify",
]

LATER = "Retry-After: 1\r\n"
"""The header field that tells a refused client to try again after 1 second."""

READABLE = "Access-Control-Allow-Origin: *\r\n"
"""Lets any page read a refusal, or its browser would hide why it was refused."""

BUSY = {"code": "busy", "message": "too much to do", "data": {"retry_after": 1}}

TOO_LARGE = {"code": "too_large", "message": "the body is larger than this server allows"}

OLD_CLIENT = "this server speaks Engine.IO 4: use socket.io-client 3 or 4"

NO_SERVER = Answer(
    404,
    f"Content-Type: text/plain; charset=utf-8\r\n{READABLE}",
    b"404: Not Found: the client's option path has to be server.path of this server",
    hint="the client's option path has to be server.path",
)
"""The answer to a client that looks for the server at another path."""


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


@dataclass(frozen=True, slots=True)
class Cause:
    """The part of the configuration because of which a request is refused.

    `thing` is what is refused, in words; `cure` is for the log, `hint` for the client.
    """

    kind: RefusedThing
    thing: str
    cure: str
    hint: str


def cause_of(refusal: Refusal, request: Request, settings: Settings) -> Cause | None:
    """The cause of a refusal; `None` if the request violates the protocol."""
    if refusal is Refusal.FORBIDDEN:
        origin = request.headers.get("origin", "")
        cure = "add it to server.cors_origins"
        if origin == f"https://{request.headers.get('host')}":
            cure += ", or the proxy that ends TLS to server.trusted_proxies"
        if origin == "null":
            cure = "the page is a file, or in a sandboxed frame: serve it over HTTP"
        hint = "the origin of this page is not in server.cors_origins"
        return Cause("origin", f"origin {origin!r}", cure, hint)
    transport = request.query.get("transport")
    if refusal is Refusal.UNKNOWN_TRANSPORT and transport in get_args(Transport):
        hint = "this transport is not in server.transports"
        return Cause("transport", f"transport {transport!r}", "add it to server.transports", hint)
    if refusal is Refusal.UNSUPPORTED_VERSION:
        version = f"protocol version {request.query.get('EIO', '')!r}"
        return Cause("version", version, OLD_CLIENT, OLD_CLIENT)
    return None


def refuse(refusal: Refusal, fields: str, cause: Cause | None = None) -> Answer:
    """The answer to a refused request: 403 if its origin is forbidden, 400 otherwise.

    Beside engine.io's code and message it has the hint of `cause`. `fields` are further header
    fields to send.
    """
    body: dict[str, object] = {"code": refusal.code, "message": refusal.message}
    status, hint = 400, ""
    if cause is not None:
        body["hint"] = hint = cause.hint
    if refusal is Refusal.FORBIDDEN:
        status, fields = 403, fields + READABLE
    return json_answer(status, fields, body)._replace(hint=hint)


def busy(fields: str) -> Answer:
    """The answer to a client that may try again a second later."""
    return json_answer(503, fields + LATER, BUSY)


def too_large(fields: str) -> Answer:
    """The answer to a body over the limit."""
    answer = json_answer(413, fields, TOO_LARGE)
    return answer._replace(closes=True, hint="over server.max_payload")
