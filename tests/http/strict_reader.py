"""A strict reader of requests, written from RFC 9112 for the tests alone.

It knows nothing of the gateway's two readers, reads whole bytes only, and prefers to refuse: what
it takes has one reading. Where RFC 9112 leaves a choice, it makes llhttp's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Incomplete", "Refused", "Strict", "read"]

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
LINE = re.compile(rb"(" + TOKEN + rb") +(/[\x21-\x7e]*) +HTTP/1\.([01])")
"""A request line with a path; llhttp takes several spaces for one, as RFC 9112 lets it."""
FIELD = re.compile(rb"(" + TOKEN + rb"):[ \t]*((?:[\x21-\x7e\x80-\xff]|[ \t])*?)[ \t]*")
QUOTED = rb"\"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*\""
EXTENSION = rb";(?:" + TOKEN + rb")?(?:=(?:" + TOKEN + rb"|" + QUOTED + rb")?)?"
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})(?:" + EXTENSION + rb")*")

METHODS = frozenset(
    b"""ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY
    MKCALENDAR MKCOL MOVE NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND
    REPORT SEARCH
    SOURCE SUBSCRIBE TRACE UNBIND UNLINK UNLOCK UNSUBSCRIBE""".split()
)
"""The methods that llhttp knows."""


class Refused(Exception):
    """Bytes that are no request."""


class Incomplete(Exception):
    """The beginning of a request."""


@dataclass(frozen=True, slots=True)
class Strict:
    """A request, its fields by lower-case name, joined by commas where they are repeated."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    keeps_alive: bool


def read(data: bytes) -> list[Strict]:
    """All requests in `data`. Raises `Refused`, or `Incomplete` at the end of the bytes."""
    found: list[Strict] = []
    while data.strip(b"\r\n"):
        request, data = _request(data)
        found.append(request)
        if data.strip(b"\r\n") and not request.keeps_alive:
            raise Refused(data)
    return found


def _request(data: bytes) -> tuple[Strict, bytes]:
    while data[:1] in (b"\r", b"\n"):  # empty lines before a request are no harm
        data = data[1:]
    line, data = _line(data)
    start = LINE.fullmatch(line)
    if start is None or start[1] not in METHODS:
        raise Refused(line)
    headers: dict[str, str] = {}
    counts: dict[str, int] = {}
    while True:
        line, data = _line(data)
        if not line:
            break
        field = FIELD.fullmatch(line)
        if field is None:
            raise Refused(line)
        name, value = field[1].decode().lower(), _text(field[2])
        counts[name] = counts.get(name, 0) + 1
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    body, data = _body(headers, counts, data)
    options = [option.strip().lower() for option in headers.get("connection", "").split(",")]
    keeps_alive = "close" not in options if start[3] == b"1" else "keep-alive" in options
    target = start[2].decode()
    return Strict(start[1].decode(), target, headers, body, keeps_alive), data


def _body(headers: dict[str, str], counts: dict[str, int], data: bytes) -> tuple[bytes, bytes]:
    length, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is not None:
        if length is not None or coding.lower() != "chunked":
            raise Refused(coding)
        return _chunks(data)
    if length is None:
        return b"", data
    if counts["content-length"] > 1 or not re.fullmatch("[0-9]{1,18}", length):
        raise Refused(length)
    size = int(length)
    if len(data) < size:
        raise Incomplete
    return data[:size], data[size:]


def _chunks(data: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, data = _line(data)
        found = CHUNK.fullmatch(line)
        if found is None:
            raise Refused(line)
        size = int(found[1], 16)
        if size == 0:
            break
        if len(data) < size + 2:
            raise Incomplete
        if data[size : size + 2] != b"\r\n":
            raise Refused(data)
        body, data = body + data[:size], data[size + 2 :]
    while True:  # trailers, which nobody reads
        line, data = _line(data)
        if not line:
            return body, data
        field = FIELD.fullmatch(line)
        if field is None or field[1].lower() in (b"content-length", b"transfer-encoding"):
            raise Refused(line)


def _line(data: bytes) -> tuple[bytes, bytes]:
    """The bytes before the first CRLF, in which no CR or LF stands alone, and those after it."""
    line, end, rest = data.partition(b"\r\n")
    if b"\n" in line or b"\r" in line.removesuffix(b"\r" if not end else b""):
        raise Refused(line)
    if not end:
        raise Incomplete
    return line, rest


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
