"""A request told from the bytes of one read, if it is one of the plain ones that clients poll with.

It is stricter than a parser of HTTP has to be, so that the two can never read a request in two
ways: whatever is not exactly what it looks like is left to aiohttp's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Head", "read"]

HEAD = re.compile(
    rb"(GET|POST) (/[\w./~-]*)\?([\w.~=&-]*) HTTP/1\.1\r\n"
    rb"((?:[\w!#$%&'*+.^`|~-]+:[\t\x20-\x7e]*\r\n)+)"
    rb"\r\n"
)
LIMIT = 8190
"""Bytes; what is longer is for aiohttp to refuse."""

DIGITS = 15
"""Of a length; Python itself refuses to read a number of some thousand."""

UNUSUAL = frozenset({"content-encoding", "expect", "te", "trailer", "transfer-encoding", "upgrade"})


@dataclass(frozen=True, slots=True)
class Head:
    """A whole request on a connection that is kept. `headers` have their names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


def read(data: bytes) -> Head | None:
    """The request that `data` is; `None` for anything else, which may well be a request too."""
    found = HEAD.match(data)
    if found is None or found.end() > LIMIT:
        return None
    method, path, query, lines = (part.decode("ascii") for part in found.groups())
    headers = _headers(lines)
    if headers is None or "host" not in headers or not headers.keys().isdisjoint(UNUSUAL):
        return None
    if headers.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    length = headers.get("content-length", "0" if method == "GET" else "")
    body = data[found.end() :]
    if (
        not length.isdecimal()
        or len(length) > DIGITS
        or int(length) != len(body)
        or (body and method == "GET")
    ):
        return None
    return Head(method, path, _query(query), headers, body)


def _headers(lines: str) -> dict[str, str] | None:
    headers: dict[str, str] = {}
    for line in lines.split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        name = name.lower()
        if name in headers:
            return None
        headers[name] = value.strip(" \t")
    return headers


def _query(text: str) -> dict[str, str]:
    query: dict[str, str] = {}
    for part in text.split("&"):
        name, _, value = part.partition("=")
        query.setdefault(name, value)
    return query
