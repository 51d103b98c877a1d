"""The answers of the public port, as bytes."""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

__all__ = ["CONTINUE", "NOT_FOUND", "Answer", "encode", "end_of_head", "json_answer"]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BODILESS = (204, 304)


class Answer(NamedTuple):
    """A response. `fields` are its header fields as sent, each with its line end.

    `closes` closes the connection after it, even if the client would keep it. `own` are fields
    that few answers share, or that may hold a secret of this client: they are not cached. `hint` is
    text of ours for the reason phrase, which is all that a browser's console shows of a refusal.
    """

    status: int
    fields: str = ""
    body: bytes = b""
    closes: bool = False
    own: str = ""
    hint: str = ""


NOT_FOUND = Answer(404, "Content-Type: text/plain; charset=utf-8\r\n", b"404: Not Found")


def json_answer(status: int, fields: str, value: object) -> Answer:
    """An answer that carries JSON."""
    body = json.dumps(value, separators=(",", ":")).encode()
    return Answer(status, f"{fields}Content-Type: application/json\r\n", body)


def encode(answer: Answer, *, keeps_alive: bool = True, has_body: bool = True) -> bytes:
    """The bytes of an answer. For HEAD, `has_body` is false: only the body's length is sent."""
    status, fields, body, _, own, hint = answer
    head = _start(status, fields, keeps_alive, hint)
    if own:
        head += own.encode()
    if not body and status in BODILESS:
        return b"%b%b" % (head, end_of_head())
    return b"%bContent-Length: %d\r\n%b%b" % (
        head,
        len(body),
        end_of_head(),
        body if has_body else b"",
    )


def end_of_head() -> bytes:
    """The end of every head: the `Date` field, which changes once a second, and a blank line."""
    return _dated(int(time.time()))


@lru_cache(32)
def _start(status: int, fields: str, keeps_alive: bool, hint: str) -> bytes:
    close = "" if keeps_alive else "Connection: close\r\n"
    phrase = HTTPStatus(status).phrase + (f": {hint}" if hint else "")
    return f"HTTP/1.1 {status} {phrase}\r\n{fields}{close}".encode()


@lru_cache(1)
def _dated(now: int) -> bytes:
    return f"Date: {formatdate(now, usegmt=True)}\r\n\r\n".encode()
