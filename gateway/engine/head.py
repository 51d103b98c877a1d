"""A request told from the bytes of one read, if it is one of the plain ones that clients send.

It is stricter than a parser of HTTP has to be, so that the two can never read a request in two
ways: whatever is not exactly what it looks like is left to aiohttp's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["NAMES", "Head", "read"]

HEAD = re.compile(
    r"(GET|POST) ((/[\w./~-]*+)\?([\w.~=&-]*+)) HTTP/1\.1\r\n"
    r"((?:[\w!#$%&'*+.^`|~-]++:[\t\x20-\x7e]*+\r\n)++)"
    r"\r\n",
    re.ASCII,
)
KEY = re.compile(r"[A-Za-z0-9+/]{21}[AQgw]==")
"""16 bytes in base64."""

LIMIT = 8190
"""Bytes; what is longer is for aiohttp to refuse."""

DIGITS = 15
"""Of a length; Python itself refuses to read a number of some thousand."""

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


@dataclass(frozen=True, slots=True)
class Head:
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


def read(data: bytes) -> Head | None:
    """The request that `data` is; `None` for anything else, which may well be a request too."""
    end = data.find(b"\r\n\r\n") + 4
    found = HEAD.fullmatch(data[:end].decode("latin-1")) if 4 <= end <= LIMIT else None
    if found is None:
        return None
    method, url, path, query, lines = found.groups()
    headers = _headers(lines)
    if headers is None or "host" not in headers or not headers.keys().isdisjoint(UNUSUAL):
        return None
    body, key = data[end:], None
    if "upgrade" in headers:
        key = _key(method, headers)
        if key is None or body:
            return None
    elif not _is_whole(method, headers, body):
        return None
    return Head(method, path, _query(query), url, headers, key, body)


def _headers(lines: str) -> dict[str, str] | None:
    headers: dict[str, str] = {}
    for line in lines.split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        name = name.lower()
        if name in headers:
            return None
        headers[NAMES.get(name, name)] = value.strip(" \t")
    return headers


def _key(method: str, headers: Mapping[str, str]) -> str | None:
    """The key of a plain request for a WebSocket."""
    if (
        method != "GET"
        or "content-length" in headers
        or headers["upgrade"].lower() != "websocket"
        or headers.get("connection", "").lower() not in UPGRADE
        or headers.get("sec-websocket-version") != "13"
    ):
        return None
    key = headers.get("sec-websocket-key", "")
    return key if KEY.fullmatch(key) else None


def _is_whole(method: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether nothing but `body` belongs to a request, on a connection that is kept."""
    if headers.get("connection", "keep-alive").lower() != "keep-alive":
        return False
    length = headers.get("content-length", "0" if method == "GET" else "")
    if not length.isdecimal() or len(length) > DIGITS or int(length) != len(body):
        return False
    return not (body and method == "GET")


def _query(text: str) -> dict[str, str]:
    query: dict[str, str] = {}
    for part in text.split("&"):
        name, _, value = part.partition("=")
        if part:
            query.setdefault(NAMES.get(name, name), value)
    return query
