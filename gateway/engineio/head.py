"""A request told from the bytes of one read, if it is one of the plain ones that clients send.

It is stricter than a parser of HTTP has to be, so that the two can never read a request in two
ways: whatever is not exactly what it looks like is left to aiohttp's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

__all__ = ["NAMES", "Head", "read"]

REQUEST = re.compile(r"(GET|POST) ((/[\w./~-]*+)\?([\w.~=&-]*+)) HTTP/1\.1\r\n", re.ASCII)
FIELDS = re.compile(rb"(?:[\w!#$%&'*+.^`|~-]++:[\t\x20-\x7e]*+\r\n)++", re.ASCII)
KEY = re.compile(r"[A-Za-z0-9+/]{21}[AQgw]==")
"""16 bytes in base64."""

LIMIT = 8190
"""Bytes; what is longer is for aiohttp to refuse."""

DIGITS = 15
"""Of a length; Python itself refuses to read a number of some thousand."""

KNOWN = 512
"""Blocks of header fields that are remembered: what polls send is the same time after time."""

UNUSUAL = frozenset({"content-encoding", "expect", "te", "trailer", "transfer-encoding"})
UPGRADE = frozenset({"upgrade", "keep-alive, upgrade", "upgrade, keep-alive"})

NAMES = {
    name: name
    for name in (
        *("EIO", "b64", "sid", "t", "transport"),
        *("accept", "accept-encoding", "accept-language", "authorization", "cache-control"),
        *("connection", "content-length", "content-type", "cookie", "host", "origin", "pragma"),
        *("referer", "sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "upgrade"),
        *("sec-websocket-extensions", "sec-websocket-key", "sec-websocket-version", "user-agent"),
        *("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"),
    )
}
"""Usual names: each connection keeps its own request, and may share these."""


class Head(NamedTuple):
    """A request. `query` has the first value of each parameter.

    `headers` have their names in lower case; those that came more than once are joined by commas.
    `key` is that of the WebSocket which is asked for, `None` if none is. `body` is empty where it
    is still to be read.
    """

    method: str
    path: str
    query: Mapping[str, str]
    url: str
    headers: Mapping[str, str]
    key: str | None
    body: bytes


class Fields(NamedTuple):
    """Header fields by their names in lower case; the length of the body they tell, if any.

    `key` is that of a WebSocket which is asked for, in a way that is plain.
    """

    headers: Mapping[str, str]
    length: int | None
    key: str | None


def read(data: bytes) -> Head | None:
    """The request that `data` is; `None` for anything else, which may well be a request too."""
    first = data.find(b"\r\n") + 2
    end = data.find(b"\r\n\r\n") + 2
    if not 2 <= end <= LIMIT - 2:
        return None
    found = REQUEST.fullmatch(data[:first].decode("latin-1"))
    if found is None:
        return None
    block = data[first:end]
    # That of a WebSocket never comes again.
    fields = _fields(block) if b"Sec-WebSocket-Key" in block else _known_fields(block)
    if fields is None:
        return None
    method, url, path, query = found.groups()
    body = data[end + 2 :]
    if fields.key is not None:
        if method != "GET" or body:
            return None
    elif method == "GET":
        if body or fields.length:
            return None
    elif fields.length != len(body):
        return None
    return Head(method, path, _query(query), url, fields.headers, fields.key, body)


def _fields(block: bytes) -> Fields | None:
    """What the header fields say, if they are plain: those of a connection that is kept."""
    if FIELDS.fullmatch(block) is None:
        return None
    headers: dict[str, str] = {}
    for line in block.decode("ascii").split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        name = name.lower()
        if name in headers:
            return None
        headers[NAMES.get(name, name)] = value.strip(" \t")
    if "host" not in headers or not headers.keys().isdisjoint(UNUSUAL):
        return None
    length = headers.get("content-length")
    if "upgrade" in headers:
        key = _key(headers) if length is None else None
        return None if key is None else Fields(headers, None, key)
    if headers.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    if length is None:
        return Fields(headers, None, None)
    if not length.isdecimal() or len(length) > DIGITS:
        return None
    return Fields(headers, int(length), None)


_known_fields = lru_cache(KNOWN)(_fields)


def _key(headers: Mapping[str, str]) -> str | None:
    """The key of a plain request for a WebSocket."""
    if (
        headers["upgrade"].lower() != "websocket"
        or headers.get("connection", "").lower() not in UPGRADE
        or headers.get("sec-websocket-version") != "13"
    ):
        return None
    key = headers.get("sec-websocket-key", "")
    return key if KEY.fullmatch(key) else None


def _query(text: str) -> dict[str, str]:
    query: dict[str, str] = {}
    for part in text.split("&"):
        name, _, value = part.partition("=")
        if part:
            query.setdefault(NAMES.get(name, name), value)
    return query
