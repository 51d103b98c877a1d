"""Switching protocols: the opening handshake of a WebSocket.

https://www.rfc-editor.org/rfc/rfc6455#section-4.2
"""

from __future__ import annotations

import binascii
import hashlib
from binascii import a2b_base64, b2a_base64

from aiohttp.http import WS_KEY, ws_ext_gen, ws_ext_parse

from gateway.http.request import Request
from gateway.http.response import Answer, encode, lines

__all__ = ["switch_to_websocket", "websocket_key"]

VERSIONS = frozenset({"13", "8", "7"})
NONCE = 16
"""Bytes of a key."""


def websocket_key(request: Request) -> str | None:
    """The key of a request for a WebSocket; `None` for one that asks for none, or not properly."""
    headers = request.headers
    if request.method != "GET" or headers.get("upgrade", "").lower() != "websocket":
        return None
    options = headers.get("connection", "").lower().split(",")
    if "upgrade" not in [option.strip() for option in options]:
        return None
    if headers.get("sec-websocket-version") not in VERSIONS:
        return None
    key = headers.get("sec-websocket-key", "")
    try:
        nonce = a2b_base64(key, strict_mode=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(nonce) == NONCE else None


def switch_to_websocket(
    request: Request, key: str, fields: str, *, compress: bool
) -> tuple[bytes, int]:
    """The answer that makes a connection the WebSocket which `request` asks for.

    With it the window bits of permessage-deflate, 0 where it is not agreed on. `fields` are header
    fields to send along.
    """
    accept = b2a_base64(hashlib.sha1(key.encode() + WS_KEY).digest(), newline=False).decode()
    headers = {"Upgrade": "websocket", "Connection": "upgrade", "Sec-WebSocket-Accept": accept}
    bits = 0
    if compress:
        offered = request.headers.get("sec-websocket-extensions")
        bits, lone = ws_ext_parse(offered, isserver=True)
        if bits:
            agreed = ws_ext_gen(compress=bits, isserver=True, server_notakeover=lone)
            headers["Sec-WebSocket-Extensions"] = agreed
    return encode(Answer(101, fields + lines(headers))), bits
