"""A Socket.IO client that does not read."""

from __future__ import annotations

import base64
import socket
from urllib.parse import urlsplit

__all__ = ["deaf"]


def deaf(url: str) -> socket.socket:
    """A client that joins over a WebSocket and never reads."""
    where = urlsplit(url)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect((where.hostname, where.port))
    key = base64.b64encode(bytes(16)).decode()
    head = (
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1",
        f"Host: {where.netloc}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
    )
    join = b"\x81\x82\0\0\0\x0040"  # masked with zeros
    sock.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + join)
    return sock
