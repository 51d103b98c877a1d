"""What aiohttp has read of a WebSocket, handed over in the call that read it.

aiohttp puts each message into a queue and wakes a task to take it out, which costs more than most
messages do. Here only what cannot be taken at once is queued: control frames, and messages behind
one that is still being waited for, or to a client that does not read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

from aiohttp import WSMessage, WSMsgType, web
from aiohttp.http_websocket import WebSocketReader, WebSocketWriter

# The queue is no part of aiohttp's promises: `tests/engine/test_inbox.py` holds it to these.
from aiohttp._websocket.reader import WebSocketDataQueue  # isort: skip

__all__ = ["WAIT", "Inbox", "InboxResponse"]

Deliver: TypeAlias = Callable[[str | bytes], Awaitable[None] | None]

TEXT, BINARY = WSMsgType.TEXT, WSMsgType.BINARY
WAIT = WSMsgType.CONTINUATION
"""Type of the message that carries, as its data, what the next message has to wait for."""

LIMIT = 2**16
"""Bytes in the queue at which aiohttp stops reading."""


class Inbox(WebSocketDataQueue):
    """Calls `deliver` with each message that nothing stands before, and queues all else.

    `deliver` must not raise; until it is set, and while `busy`, everything is queued.
    """

    deliver: Deliver | None = None
    busy = False

    def feed_data(self, data: Any, size: int) -> None:
        deliver = self.deliver
        if (
            deliver is None
            or self.busy
            or self._buffer
            or self._protocol.writing_paused
            or (data.type is not TEXT and data.type is not BINARY)
        ):
            super().feed_data(data, size)
            return
        waiting = deliver(data.data)
        if waiting is not None:
            self.busy = True
            super().feed_data(WSMessage(WAIT, waiting, None), 0)

    def drop(self) -> None:
        """Forget what is queued."""
        for message, _ in self._buffer:
            if message.type is WAIT and isinstance(message.data, Coroutine):
                message.data.close()
        self._buffer.clear()


class InboxResponse(web.WebSocketResponse):
    """A WebSocket of aiohttp's that reads into an `Inbox`."""

    inbox: Inbox

    def _post_start(
        self, request: web.BaseRequest, protocol: str | None, writer: WebSocketWriter
    ) -> None:
        assert self._loop is not None
        self._ws_protocol = protocol
        self._writer = writer
        self.inbox = self._reader = Inbox(request.protocol, LIMIT, loop=self._loop)
        compress = bool(self._compress)
        self._parser = WebSocketReader(
            self.inbox, self._max_msg_size, compress=compress, decode_text=True
        )
        request.protocol.set_parser(self._parser)
        request.protocol.keep_alive(False)
