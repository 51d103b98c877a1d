"""Requests that are changed at random, as an attacker or a broken proxy may send them."""

from __future__ import annotations

import random

__all__ = ["REQUESTS", "mutated"]

POLL = "/socket.io/?EIO=4&transport=polling"

REQUESTS = [
    text.replace("\n", "\r\n").encode()
    for text in (
        (
            f"GET {POLL}&t=PabcDEF&sid=lv_VI97HAXpY6yYWAAAC HTTP/1.1\nHost: a.example:7001\n"
            "Accept: */*\nConnection: keep-alive\n\n"
        ),
        (
            f"POST {POLL}&sid=x HTTP/1.1\nHost: a\nContent-Type: text/plain;charset=UTF-8\n"
            'Content-Length: 6\nOrigin: http://a\n\n42["a"'
        ),
        (
            f"POST {POLL}&sid=x HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n"
            '3\n42[\n2;x=y\n"a\n0\n\n'
        ),
        f"GET {POLL} HTTP/1.0\nHost: a\nConnection: keep-alive, x\nCookie: a=b\n\n",
        "OPTIONS /socket.io/?a HTTP/1.1\nHost: a\nX-A: 1\nX-A: 2\nConnection: close\n\n",
    )
]
"""Valid requests, plain ones and others."""

PIECES = [
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b"\xff", b"\xc3\xa9", b"a", b"0"),
    *(b"1", b"+", b"-", b"#", b"%41", b"?", b"&", b";", b'"', b"\r\n ", b"\x7f", b"\x0b", b"{"),
    *(b"Content-Length: 1\r\n", b"Content-Length: 0\r\n", b"Content-Length", b"0\r\n", b"GET "),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"chunked"),
    *(b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Expect: 100-continue\r\n"),
    *(b"Host: b\r\n", b"HTTP/1.0", b"HTTP/2.0", b"http://h"),
]


def mutated(dice: random.Random, data: bytes) -> bytes:
    """The bytes with one to three changes: a piece put in or over, bytes left out or repeated."""
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        start, end = sorted(dice.randrange(len(data) + 1) for _ in range(2))
        match dice.randrange(4):
            case 0:
                data = data[:start] + dice.choice(PIECES) + data[start:]
            case 1:
                data = data[:start] + data[start + dice.choice((1, 1, 2, 5)) :]
            case 2:
                data = data[:start] + dice.choice(PIECES) + data[start + 1 :]
            case _:
                data = data[:end] + data[start : min(end, start + 60)] + data[end:]
    return data or b"G"
