"""The heads of answers that aiohttp does not write; they are as aiohttp would write them."""

from __future__ import annotations

import hashlib
from binascii import b2a_base64
from collections.abc import Mapping
from functools import lru_cache

from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE, WS_KEY, ws_ext_gen, ws_ext_parse

from gateway.engineio.head import Head

__all__ = ["answer", "lines", "switching"]


def lines(headers: Mapping[str, str]) -> str:
    """Headers as they are written."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])


def answer(status: str, fields: str, body: bytes) -> bytes:
    """An answer with a body. `fields` are lines."""
    head, tail = _start(status, fields), _common(rfc822_formatted_time())
    return b"%bContent-Length: %d\r\n%b%b" % (head, len(body), tail, body)


@lru_cache(16)
def _start(status: str, fields: str) -> bytes:
    return f"HTTP/1.1 {status}\r\n{fields}".encode()


@lru_cache(1)
def _common(date: str) -> bytes:
    """The end of every head, the same for a second."""
    return f"Date: {date}\r\nServer: {SERVER_SOFTWARE}\r\n\r\n".encode()


def switching(head: Head, headers: Mapping[str, str], *, compress: bool) -> tuple[bytes, int]:
    """The answer that makes a connection the WebSocket which `head` asks for.

    With it the window bits of permessage-deflate, 0 where it is not agreed on. `headers` are those
    that CORS asks for. https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
    """
    assert head.key is not None
    accept = b2a_base64(hashlib.sha1(head.key.encode() + WS_KEY).digest(), newline=False)
    fields = {
        **headers,
        "Upgrade": "websocket",
        "Connection": "upgrade",
        "Sec-WebSocket-Accept": accept.decode(),
    }
    bits = 0
    if compress:
        asked = head.headers.get("sec-websocket-extensions")
        bits, lone = ws_ext_parse(asked, isserver=True)
        if bits:
            agreed = ws_ext_gen(compress=bits, isserver=True, server_notakeover=lone)
            fields["Sec-WebSocket-Extensions"] = agreed
    start = f"HTTP/1.1 101 Switching Protocols\r\n{lines(fields)}"
    return start.encode() + _common(rfc822_formatted_time()), bits
