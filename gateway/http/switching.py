"""Switching protocols: the opening handshake of a WebSocket.

https://www.rfc-editor.org/rfc/rfc6455#section-4.2
"""

from __future__ import annotations

import hashlib
import re
from binascii import b2a_base64

from aiohttp.http import WS_KEY, ws_ext_gen, ws_ext_parse

from gateway.http.request import Request
from gateway.http.response import end_of_head

__all__ = ["switch_to_websocket", "websocket_key"]

SWITCHING = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"

VERSIONS = frozenset({"13", "8", "7"})

KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
"""16 bytes in base64."""


def websocket_key(request: Request) -> str | None:
    """The key of a valid request for a WebSocket; `None` for any other request."""
    headers = request.headers
    if request.method != "GET" or headers.get("upgrade", "").lower() != "websocket":
        return None
    options = headers.get("connection", "").lower()
    if options != "upgrade" and "upgrade" not in re.split(r"[ \t]*,[ \t]*", options):
        return None
    if headers.get("sec-websocket-version") not in VERSIONS:
        return None
    key = headers.get("sec-websocket-key", "")
    return key if KEY.fullmatch(key) else None


def switch_to_websocket(
    request: Request, key: str, fields: str, *, compress: bool
) -> tuple[bytes, int]:
    """The answer to a request for a WebSocket, and the window bits of permessage-deflate.

    The bits are 0 if compression is not agreed on. `fields` are further header fields to send.
    """
    accept = b2a_base64(hashlib.sha1(key.encode() + WS_KEY).digest(), newline=False).decode()
    bits, agreed = 0, ""
    if compress:
        offered = request.headers.get("sec-websocket-extensions")
        bits, lone = ws_ext_parse(offered, isserver=True)
        if bits:
            terms = ws_ext_gen(compress=bits, isserver=True, server_notakeover=lone)
            agreed = f"Sec-WebSocket-Extensions: {terms}\r\n"
    protocols = request.headers.get("sec-websocket-protocol")
    if protocols:  # browsers close a connection that names none of theirs
        agreed += f"Sec-WebSocket-Protocol: {protocols.partition(',')[0].strip()}\r\n"
    head = f"{SWITCHING}{fields}Sec-WebSocket-Accept: {accept}\r\n{agreed}"
    return head.encode() + end_of_head(), bits
