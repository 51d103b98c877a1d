"""A request, and the short way to read the plain ones that clients send most.

`read_plain` is stricter than a parser of HTTP has to be, so that the two can never read a request
in two ways: it leaves whatever is not exactly what it looks like to `parser`.
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
"""Digits of the largest length: Python itself refuses to read a number of some thousand."""

REMEMBERED = 256 * 1024
"""Bytes of header fields that are remembered: a client that polls sends the same time after time.

What was read in them takes a few times as much.
"""

HARMLESS = frozenset(
    {
        *("accept", "accept-encoding", "accept-language", "cache-control", "connection"),
        *("content-length", "content-type", "host", "origin", "pragma", "user-agent"),
        *("sec-ch-ua", "sec-ch-ua-mobile", "sec-ch-ua-platform"),
        *("sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site"),
        *("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"),
    }
)
"""Fields whose blocks are remembered. Any other may carry a secret, which would outlive its client
in memory: nobody knows the names of all that do."""

UNUSUAL = frozenset({"content-encoding", "expect", "te", "trailer", "transfer-encoding"})

KEPT = frozenset({"keep-alive", "upgrade", "keep-alive, upgrade", "upgrade, keep-alive"})
"""What `Connection` may say in a plain request."""

COMMON_NAMES = {
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
"""Names that most requests share: each session keeps its own request, and one copy of these."""


class Request(NamedTuple):
    """A request, read from its head.

    `url` is path and query as they were sent; `query` has the first value of each parameter.
    `headers` have their names in lower case; those that came more than once are joined by commas.
    `body` is all of it where it came with the head, `None` where it is still to come.
    `keeps_alive` says whether the client may send another request on the connection.
    """

    method: str
    path: str
    query: Mapping[str, str]
    url: str
    headers: Mapping[str, str]
    body: bytes | None = b""
    keeps_alive: bool = True


class _Fields(NamedTuple):
    """Header fields by their names in lower case, and the length of the body, if they have one."""

    headers: Mapping[str, str]
    length: int | None


def read_plain(data: bytes) -> Request | None:
    """Read the one whole request that `data` is; `None` for everything else.

    What this declines may well be a request too.
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
    """Read a block of header fields, if it is plain: that of a connection that is kept."""
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
    # Read-only: plugins see it, and those who sent equal blocks share it.
    fields = _Fields(MappingProxyType(headers), None if length is None else int(length))
    if headers.keys() <= HARMLESS:
        KNOWN.add(block, fields)
    return fields


class Known(dict[bytes, _Fields]):
    """The blocks that are remembered. When they are too many bytes, all are forgotten."""

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
