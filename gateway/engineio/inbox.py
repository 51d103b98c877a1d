"""What comes on a WebSocket, handed over in the call that read it.

aiohttp reads frames, in C, and puts what they say into a queue of its own, which wakes a task:
that costs more than most messages do. Here only what cannot be taken at once is queued: what comes
behind a message that is still being waited for, and messages to a client that does not read. The
queue's bound is aiohttp's, and so is what happens at it: the connection is not read from.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from aiohttp import WSMessage, WSMsgType

# The queue is no part of aiohttp's promises: `tests/engineio/test_inbox.py` holds it to these.
from aiohttp._websocket.reader import WebSocketDataQueue

__all__ = ["Inbox", "Recipient"]

TEXT, BINARY, PING, CLOSE = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PING, WSMsgType.CLOSE

LIMIT = 2**16
"""Half the bytes in the queue at which aiohttp stops reading."""


class Recipient(Protocol):
    """Who takes what comes, in order. None of these may raise.

    The last three are what aiohttp's queue asks for.
    """

    def deliver(self, message: str | bytes) -> bool:
        """Take a message. If this is true, what comes behind it waits until `busy` is false."""

    def pinged(self, data: bytes) -> None:
        """The client wants this echoed."""

    def closed(self) -> None:
        """The client closes the WebSocket, or has agreed to that."""

    def failed(self, error: Exception) -> None:
        """What the client sends cannot be read; nothing more comes."""

    _reading_paused: bool

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Inbox(WebSocketDataQueue):
    """Hands over everything, unless it has to be queued.

    While `busy`, a message is waited for. While `unread`, the client does not take what it is
    sent: its messages wait, its end does not. `go_on` is to be called once one of the two is over.
    """

    __slots__ = ("_error", "_recipient", "busy", "unread")

    def __init__(self, recipient: Recipient, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(recipient, LIMIT, loop=loop)  # type: ignore[arg-type]
        self._recipient: Recipient | None = recipient
        self._error: Exception | None = None
        self.busy = self.unread = False

    def feed_data(self, data: WSMessage, size: int) -> None:  # type: ignore[override]
        if self.busy or self._buffer or (self.unread and data.type is not CLOSE):
            super().feed_data(data, size)
        else:
            self._hand_over(data)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        assert isinstance(exc, Exception)
        # Its traceback leads back here, for a full collection to find.
        self._error = exc.with_traceback(None)
        self._fail_if_due()

    def go_on(self) -> None:
        """Hand over what is queued."""
        while self._buffer and not self.busy and not self.unread:
            self.busy = True  # what the parser goes on with meanwhile comes behind this
            message = self._pop()
            self.busy = False
            self._hand_over(message)
        self._fail_if_due()

    def drop(self) -> None:
        """Forget what is queued, and the recipient."""
        self._buffer.clear()
        self._recipient = self._protocol = None  # type: ignore[assignment]

    def _pop(self) -> WSMessage:
        reading = self.read()  # which is the one way to have the queue's bound looked at
        try:
            reading.send(None)
        except StopIteration as taken:
            message: WSMessage = taken.value
            return message
        raise AssertionError("the queue is empty")

    def _hand_over(self, message: WSMessage) -> None:
        recipient, kind = self._recipient, message.type
        if recipient is None:
            return
        if kind is TEXT or kind is BINARY:
            self.busy = recipient.deliver(message.data)
        elif kind is PING:
            recipient.pinged(message.data)
        elif kind is CLOSE:
            recipient.closed()

    def _fail_if_due(self) -> None:
        error = self._error
        if error is None or self.busy or self._buffer or self._recipient is None:
            return
        self._error = None
        self._recipient.failed(error)
