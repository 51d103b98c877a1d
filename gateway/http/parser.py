"""The parser: it turns the bytes of a connection into requests, however TCP has split them.

It uses llhttp (through httptools), as uvicorn and Node do, and refuses some requests that llhttp
accepts but a gateway should not.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

import httptools

from gateway.http.request import COMMON_NAMES, Request

__all__ = ["END", "BadRequest", "Event", "Parser"]

HEAD_SIZE = 32 * 1024
"""Bytes of a whole head; trailers count too. Node allows 16 KiB, nginx 32 KiB."""

FIELD_SIZE = 8190
"""Bytes of one header field, or of the target, as in Apache and aiohttp."""

FRAMING = ("content-length", "transfer-encoding")

VERSIONS = frozenset({"1.0", "1.1"})
"""Versions whose requests are read; llhttp knows 0.9 and 2.0 as well."""

TLS_RECORD = b"\x16\x03"
"""The beginning of a TLS handshake: https://www.rfc-editor.org/rfc/rfc8446#section-5.1"""

TLS_SPOKEN = "TLS where HTTP is spoken: use http://, or set server.tls"

FIELDS = 128
"""Header fields of a request."""


class _End(Enum):
    END = "end"


END = _End.END

Event: TypeAlias = Request | bytes | _End
"""The head of a request, a part of its body, or its end."""


class BadRequest(ValueError):
    """Bytes that are not HTTP; nothing after them on the connection can be read."""


class Parser:
    """The parser of one connection.

    `tail` is what came after a request for a WebSocket, where HTTP ends; `None` before that.
    """

    def __init__(self) -> None:
        self.tail: bytes | None = None
        self.is_between = True  # no byte of the next request has come
        self._events: list[Event] = []
        self._parser = httptools.HttpRequestParser(self)
        self._in_head = True
        self._skips_head = False
        self._size = 0
        self._unread = 0  # bytes since a head began, or since the last part of a body
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []

    def feed(self, data: bytes) -> list[Event]:
        """Parse more bytes, and return what they complete, in order. Raises `BadRequest`.

        When anything in `data` is wrong, nothing of it is returned: a request before the fault may
        be half of a smuggled one.
        """
        self._unread += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._switch(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, BadRequest):
                raise cause from None
            raise BadRequest(TLS_SPOKEN if data.startswith(TLS_RECORD) else str(error)) from None
        # httptools buffers a field until it is complete, so `on_header` cannot see it grow.
        if self._unread > HEAD_SIZE:
            raise BadRequest("the head is too large")
        events, self._events = self._events, []
        return events

    def _switch(self, rest: bytes) -> list[Event]:
        """Go on after the head of a request that offers another protocol.

        httptools leaves `rest` to that protocol. Unless that is WebSocket, the offer is ignored,
        and `rest` is the body and further requests: Java's client offers HTTP/2 with each one.
        """
        request = next(event for event in reversed(self._events) if isinstance(event, Request))
        headers = request.headers
        if headers.get("upgrade", "").lower() == "websocket":
            self.tail = rest
            events, self._events = self._events, []
            return events
        self._parser = httptools.HttpRequestParser(self)
        framing = [f"{name}: {headers[name]}" for name in FRAMING if name in headers]
        if framing:
            self._events.pop()  # the END that httptools gave too early
            self._skips_head = True
            self._parser.feed_data("\r\n".join(["POST / HTTP/1.1", *framing, "", ""]).encode())
        return self.feed(rest)

    # Called by httptools

    def on_message_begin(self) -> None:
        self._unread = 0
        self.is_between, self._in_head = False, True
        self._size, self._target, self._fields = 0, b"", []

    def on_url(self, url: bytes) -> None:
        if self._skips_head:
            return
        self._target += url
        self._count(len(url), len(self._target))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value), len(name) + len(value))
        if self._in_head and not self._skips_head:  # trailers are ignored
            self._fields.append((name, value))
            if len(self._fields) > FIELDS:
                raise BadRequest("too many header fields")

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._unread = 0
        if self._skips_head:
            self._skips_head = False
        else:
            self._events.append(self._request())

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        self._events.append(body)

    def on_message_complete(self) -> None:
        self.is_between = True
        self._unread = 0
        self._events.append(END)

    def _count(self, size: int, field: int) -> None:
        self._size += size
        if self._size > HEAD_SIZE or field > FIELD_SIZE:
            raise BadRequest("the head is too large")

    def _request(self) -> Request:
        if self._parser.get_http_version() not in VERSIONS:
            raise BadRequest("a version other than HTTP/1.0 and HTTP/1.1")
        headers: dict[str, str] = {}
        for name, value in self._fields:
            key = name.decode("ascii").lower()
            key = COMMON_NAMES.get(key, key)
            text = _text(value)
            headers[key] = f"{headers[key]},{text}" if key in headers else text
        if headers.get("transfer-encoding", "chunked").lower() != "chunked":
            raise BadRequest("an encoding other than chunked")
        target = self._target.decode("latin-1")
        if not target.isascii() or not target.isprintable():
            raise BadRequest("a target that is not ASCII")
        url = _relative(target)
        path, _, query = url.partition("?")
        return Request(
            method=self._parser.get_method().decode("ascii"),
            path=unquote(path),
            query=_first_values(query),
            url=url,
            headers=MappingProxyType(headers),
            body=None,
            keeps_alive=self._parser.should_keep_alive(),
        )


def _text(value: bytes) -> str:
    try:
        return value.strip(b" \t").decode()
    except UnicodeDecodeError:
        return value.strip(b" \t").decode("latin-1")


def _relative(target: str) -> str:
    """The path and query of a target, which may be an absolute URL."""
    target = target.partition("#")[0]
    if target.startswith("/"):
        return target
    try:
        parts = urlsplit(target)
    except ValueError:
        raise BadRequest("a target that is no URL") from None
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _first_values(query: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        values.setdefault(COMMON_NAMES.get(name, name), value)
    return values
