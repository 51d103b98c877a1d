"""The answers of the public port, as bytes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

__all__ = ["CONTINUE", "NOT_FOUND", "Answer", "encode", "json_answer", "lines"]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Answer(NamedTuple):
    """A response. `fields` are its header fields as they are written: see `lines`.

    `closes` ends the connection behind it, also where the client would keep it.
    """

    status: int
    fields: str = ""
    body: bytes = b""
    closes: bool = False


NOT_FOUND = Answer(404, "Content-Type: text/plain; charset=utf-8\r\n", b"404: Not Found")


def lines(headers: Mapping[str, str]) -> str:
    """Header fields as they are written."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])


def json_answer(status: int, fields: str, value: object) -> Answer:
    """An answer that carries JSON."""
    body = json.dumps(value, separators=(",", ":")).encode()
    return Answer(status, f"{fields}Content-Type: application/json\r\n", body)


def encode(answer: Answer, *, keeps_alive: bool = True, has_body: bool = True) -> bytes:
    """The bytes of an answer; without `has_body` it says how long its body would be (HEAD)."""
    status, fields, body, _ = answer
    head = _start(status, fields if keeps_alive else f"{fields}Connection: close\r\n")
    length = (
        b""
        if status in {HTTPStatus.NO_CONTENT, HTTPStatus.SWITCHING_PROTOCOLS}
        else (b"Content-Length: %d\r\n" % len(body))
    )
    return b"%b%b%b%b" % (head, length, _end(int(time.time())), body if has_body else b"")


@lru_cache(32)
def _start(status: int, fields: str) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{fields}".encode()


@lru_cache(1)
def _end(now: int) -> bytes:
    """The end of every head, the same for a second."""
    return f"Date: {formatdate(now, usegmt=True)}\r\n\r\n".encode()
