"""What aiohttp has read of a WebSocket, handed over in the call that read it.

aiohttp puts each message into a queue and wakes a task to take it out, which costs more than most
messages do. Here only what cannot be taken at once is queued: control frames, and messages behind
one that is still being waited for, or to a client that does not read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import Any, Protocol

from aiohttp import WebSocketError, WSCloseCode, WSMessage, WSMsgType, web
from aiohttp.http_websocket import WebSocketReader, WebSocketWriter

# The queue is no part of aiohttp's promises: `tests/engine/test_inbox.py` holds it to these.
from aiohttp._websocket.reader import WebSocketDataQueue  # isort: skip

__all__ = ["WAIT", "Inbox", "InboxResponse", "Recipient"]

TEXT, BINARY = WSMsgType.TEXT, WSMsgType.BINARY
WAIT = WSMsgType.CONTINUATION
"""Type of the message that carries, as its data, what the next message has to wait for."""

MASKED = 0x80
"""The bit in the second byte of a frame."""

LIMIT = 2**16
"""Bytes in the queue at which aiohttp stops reading."""


class Recipient(Protocol):
    """Who takes messages in the call that read them. None of the three may raise."""

    def cork(self) -> None:
        """What one read has brought is about to be delivered."""

    def deliver(self, message: str | bytes) -> Awaitable[None] | None:
        """Take a message; the next one waits for what is returned."""

    def uncork(self) -> None:
        """It is delivered."""


class Inbox(WebSocketDataQueue):
    """Hands each message that nothing stands before to the recipient, and queues all else.

    Until `recipient` is set, and while `busy`, everything is queued.
    """

    recipient: Recipient | None = None
    busy = False

    def feed_data(self, data: Any, size: int) -> None:
        recipient, kind = self.recipient, data.type
        if (
            recipient is None
            or self.busy
            or self._buffer
            or (kind is not TEXT and kind is not BINARY)
            or self._protocol.writing_paused
        ):
            super().feed_data(data, size)
            return
        waiting = recipient.deliver(data.data)
        if waiting is not None:
            self.busy = True
            super().feed_data(WSMessage(WAIT, waiting, None), 0)

    def drop(self) -> None:
        """Forget what is queued, and the recipient."""
        for message, _ in self._buffer:
            if message.type is WAIT and isinstance(message.data, Coroutine):
                message.data.close()
        self._buffer.clear()
        self.recipient = None


class _Reader(WebSocketReader):
    """aiohttp's parser, which tells the recipient where a read begins and ends."""

    def __init__(self, inbox: Inbox, limit: int, compress: bool) -> None:
        super().__init__(inbox, limit, compress=compress, decode_text=True)
        self._inbox = inbox
        # Found before the method for one call, so that no later one is any slower for the check.
        self.feed_data = self._feed_first  # type: ignore[method-assign]

    def _feed_first(self, data: bytes | bytearray | memoryview) -> tuple[bool, bytes]:
        """Refuse a client that does not mask its first frame; aiohttp would let it.

        https://www.rfc-editor.org/rfc/rfc6455#section-5.1
        """
        del self.feed_data
        if len(data) < 2 or data[1] & MASKED:
            return self.feed_data(data)
        error = WebSocketError(WSCloseCode.PROTOCOL_ERROR, "a frame that is not masked")
        self._inbox.set_exception(error)
        return True, b""

    def feed_data(self, data: bytes | bytearray | memoryview) -> tuple[bool, bytes]:
        recipient = self._inbox.recipient
        if recipient is None:
            return super().feed_data(data)
        recipient.cork()
        try:
            return super().feed_data(data)
        finally:
            recipient.uncork()


class InboxResponse(web.WebSocketResponse):
    """A WebSocket of aiohttp's that reads into an `Inbox`."""

    inbox: Inbox

    def keep_head(self) -> None:
        """Have `prepare` leave the head to the writer's first `write`, or to `send_headers`."""
        self._send_headers_immediately = False

    def forget(self) -> None:
        """Let go of why it ended: the traceback leads back here, for a full collection to find."""
        self._exception = None

    def _post_start(
        self, request: web.BaseRequest, protocol: str | None, writer: WebSocketWriter
    ) -> None:
        assert self._loop is not None
        self._ws_protocol = protocol
        self._writer = writer
        self.inbox = self._reader = Inbox(request.protocol, LIMIT, loop=self._loop)
        self._parser = _Reader(self.inbox, self._max_msg_size, bool(self._compress))
        request.protocol.set_parser(self._parser)
        request.protocol.keep_alive(False)
