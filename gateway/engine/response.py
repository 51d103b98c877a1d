"""The heads of answers that aiohttp does not write; they are as aiohttp would write them."""

from __future__ import annotations

import hashlib
from binascii import b2a_base64
from collections.abc import Mapping

from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE, WS_KEY, ws_ext_gen, ws_ext_parse

from gateway.engine.head import Head

__all__ = ["head_bytes", "switching"]


def head_bytes(status: str, headers: Mapping[str, str]) -> bytes:
    """The status line, `headers`, and those of every answer."""
    fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    common = f"Date: {rfc822_formatted_time()}\r\nServer: {SERVER_SOFTWARE}\r\n"
    return f"HTTP/1.1 {status}\r\n{fields}{common}\r\n".encode()


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
    return head_bytes("101 Switching Protocols", fields), bits
