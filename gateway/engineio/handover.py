"""The way of a connection from aiohttp to a WebSocket."""

from __future__ import annotations

import asyncio

from aiohttp import web

__all__ = ["detach"]


def detach(handler: web.RequestHandler) -> tuple[asyncio.Transport, bytes] | None:
    """Take the connection from aiohttp's handler of it; `None` if it is gone.

    With it comes what the client has sent behind the request that is being handled. To aiohttp it
    is as if the client went away: it lets go of all that it keeps for a connection, and writes no
    answer. `tests/engineio/test_handover.py` holds what this relies on in the installed aiohttp.
    """
    transport = handler.transport
    if transport is None or transport.is_closing():
        return None
    tail, handler._message_tail = handler._message_tail, b""
    if handler._buffer_paused or handler._reading_paused:
        transport.resume_reading()
    handler.transport = None  # or it would be closed
    handler.connection_lost(None)
    return transport, tail
