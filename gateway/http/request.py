"""A request, and a fast way to read the plain ones that clients send most.

`read_plain` is stricter than an HTTP parser has to be, so the two can never read one request in
two ways. It leaves everything unusual to `parser`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["COMMON_NAMES", "KNOWN", "Known", "Request", "read_plain"]

LINE = re.compile(r"(GET|POST) ((/[\w./~-]*+)\?([\w.~=&-]*+)) HTTP/1\.1\r\n", re.ASCII)
FIELDS = re.compile(rb"(?:[\w!#$%&'*+.^`|~-]++:[\t\x20-\x7e]*+\r\n)++", re.ASCII)

LONGEST = 8190
"""Bytes of the longest head that is plain."""

DIGITS = 15
"""Digits of the largest length: Python raises an error for numbers of several thousand digits."""

REMEMBERED = 256 * 1024
"""Bytes of header blocks that are cached: a polling client sends the same ones again and again.

The parsed fields take a few times as much memory.
"""

HARMLESS = frozenset(
    {
        *("accept", "accept-encoding", "accept-language", "cache-control", "connection"),
        *("content-length", "content-type", "host", "origin", "pragma", "user-agent"),
        *("sec-ch-ua", "sec-ch-ua-mobile", "sec-ch-ua-platform"),
        *("sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site"),
        *("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port"),
        *("x-forwarded-proto", "x-forwarded-server", "x-real-ip"),
    }
)
"""Fields that a cached block may have. Any other field may carry a secret, which the cache would
keep in memory after its client is gone."""

UNUSUAL = frozenset({"content-encoding", "expect", "te", "trailer", "transfer-encoding"})

KEPT = frozenset({"keep-alive", "upgrade", "keep-alive, upgrade", "upgrade, keep-alive"})
"""Values that `Connection` may have in a plain request."""

COMMON_NAMES = {
    name: name
    for name in (
        *("EIO", "b64", "sid", "t", "transport"),
        *("accept", "accept-encoding", "accept-language", "authorization", "cache-control"),
        *("connection", "content-length", "content-type", "cookie", "host", "origin", "pragma"),
        *("referer", "sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "upgrade"),
        *("sec-websocket-extensions", "sec-websocket-key", "sec-websocket-version", "user-agent"),
        *("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port"),
        *("x-forwarded-proto", "x-forwarded-server", "x-real-ip"),
    )
}
"""Names that most requests share. Every session keeps its request, but not a copy of these."""


class Request(NamedTuple):
    """A request, read from its head.

    `url` is the path and query as sent; `query` has the first value of each parameter. `headers`
    have lower-case names; the values of repeated fields are joined by commas. `body` is the whole
    body if it came with the head, `None` if it is still to come. `keeps_alive` is true if the
    client may send another request on the connection.
    """

    method: str
    path: str
    query: Mapping[str, str]
    url: str
    headers: Mapping[str, str]
    body: bytes | None = b""
    keeps_alive: bool = True


class _Fields(NamedTuple):
    """Header fields by lower-case name, and the body's length; `None` if they do not give it."""

    headers: Mapping[str, str]
    length: int | None


def read_plain(data: bytes) -> Request | None:
    """Read `data` if it is one complete, plain request; `None` for everything else.

    `None` does not mean that `data` is invalid.
    """
    first = data.find(b"\r\n") + 2
    end = data.find(b"\r\n\r\n") + 2
    if not 2 <= end <= LONGEST - 2:
        return None
    found = LINE.fullmatch(data[:first].decode("latin-1"))
    if found is None:
        return None
    block = data[first:end]
    fields = KNOWN.get(block) or _fields(block)
    if fields is None:
        return None
    method, url, path, query = found.groups()
    body = data[end + 2 :]
    if method == "GET":
        if body or fields.length:
            return None
    elif fields.length != len(body) or "upgrade" in fields.headers:
        return None
    return Request(method, path, _query(query), url, fields.headers, body)


def _fields(block: bytes) -> _Fields | None:
    """Read a block of header fields; `None` unless it is plain and keeps the connection alive."""
    if FIELDS.fullmatch(block) is None:
        return None
    headers: dict[str, str] = {}
    for line in block.decode("ascii").split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        name = name.lower()
        if name in headers:
            return None
        headers[COMMON_NAMES.get(name, name)] = value.strip(" \t")
    if "host" not in headers or not headers.keys().isdisjoint(UNUSUAL):
        return None
    if headers.get("connection", "keep-alive").lower() not in KEPT:
        return None
    if headers.get("upgrade", "websocket").lower() != "websocket":
        return None
    length = headers.get("content-length")
    if length is not None and not (length.isdigit() and len(length) <= DIGITS):
        return None
    # Read-only: plugins see it, and clients that send equal blocks share it.
    fields = _Fields(MappingProxyType(headers), None if length is None else int(length))
    if headers.keys() <= HARMLESS:
        KNOWN.add(block, fields)
    return fields


class Known(dict[bytes, _Fields]):
    """A cache of header blocks, cleared when it exceeds `REMEMBERED` bytes."""

    def __init__(self) -> None:
        super().__init__()
        self._size = 0

    def add(self, block: bytes, fields: _Fields) -> None:
        if self._size + len(block) > REMEMBERED:
            self.clear()
            self._size = 0
        self._size += len(block)
        self[block] = fields


KNOWN = Known()


def _query(text: str) -> dict[str, str]:
    query: dict[str, str] = {}
    for part in text.split("&"):
        name, _, value = part.partition("=")
        if part:
            query.setdefault(COMMON_NAMES.get(name, name), value)
    return query
