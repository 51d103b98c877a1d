"""What is kept of the request that opened a session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import hdrs, web

from gateway.engineio.head import NAMES, Head

__all__ = ["Opening", "head_of", "opening"]


@dataclass(frozen=True, slots=True)
class Opening:
    """The first value of each query parameter; headers by their names in lower case, those that
    came more than once joined by commas; the client's address; path and query; whether it was TLS.
    """

    query: Mapping[str, str]
    headers: Mapping[str, str]
    address: str
    url: str
    secure: bool


def opening(head: Head, address: str, *, secure: bool) -> Opening:
    """Tell the facts of a request."""
    return Opening(head.query, head.headers, address, head.url, secure)


def head_of(request: web.Request) -> Head:
    """Tell what aiohttp has read of `request`, which nothing of it holds in memory."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        key = name.lower()
        key = NAMES.get(key, key)
        headers[key] = f"{headers[key]},{value}" if key in headers else value
    query: dict[str, str] = {}
    for name, value in request.query.items():
        query.setdefault(NAMES.get(name, name), value)
    websocket = request.headers[hdrs.SEC_WEBSOCKET_KEY] if _is_websocket(request) else None
    return Head(request.method, request.path, query, request.path_qs, headers, websocket, b"")


def _is_websocket(request: web.Request) -> bool:
    """Whether a request asks for a WebSocket, in a way that can be granted."""
    if request.method != hdrs.METH_GET or hdrs.UPGRADE not in request.headers:
        return False
    return web.WebSocketResponse().can_prepare(request).ok
