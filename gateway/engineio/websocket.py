"""A WebSocket connection, from the answer that opens it to its end.

aiohttp's parser, in C, reads the frames. Frames are written straight to the TCP transport, which
takes them at once and in order: no task and no queue of ours is in between. Only the answers to
messages that arrived in one read are joined, because a write costs as much as everything else that
is done for a message. While a client does not read, its messages are not read either.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from aiohttp import WebSocketError, WSCloseCode, WSMessage, WSMsgType

# The queue is private to aiohttp: `tests/engineio/test_inbox.py` checks what we rely on.
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.http_websocket import WebSocketReader

from gateway.engineio.frames import Frames, close_frame, deflated_frame, frame, pong_frame
from gateway.engineio.packet import Message, Packet, PacketError, encode_base64
from gateway.engineio.session import Session
from gateway.engineio.transports import CLOSE_LIMIT, COMPRESS_FROM
from gateway.http.closing import CloseQueue, QueuedProtocol

__all__ = ["Inbox", "ReadSwitch", "Recipient", "WebSocketCarrier"]

LOG = logging.getLogger("sockgw.engine")

TEXT, BINARY, PING, CLOSE = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PING, WSMsgType.CLOSE

CORKED = 64
"""Most frames that are joined into one write."""

LARGE = 2**12
"""Size from which a frame is written without waiting for others, in bytes."""

INBOX = 2**16
"""Half the size of the inbox at which aiohttp stops reading, in bytes."""

MASKED = 0x80
"""The bit of a masked frame, in its second byte."""


class Owner(Protocol):
    """The engine as its WebSockets see it."""

    def gone(self, websocket: WebSocketCarrier) -> None:
        """Forget a WebSocket whose connection is gone; called once."""


class WebSocketCarrier(QueuedProtocol):
    """One WebSocket connection. `window_bits` are those of permessage-deflate; 0 without it.

    If `takes_text_only` is true, binary packets are sent as base64.
    """

    __slots__ = (
        "_corked",
        "_inbox",
        "_is_closing",
        "_is_fresh",
        "_owner",
        "_reader",
        "_session",
        "_waiting",
        "_window_bits",
        "takes_text_only",
    )

    def __init__(
        self,
        session: Session,
        transport: asyncio.Transport,
        owner: Owner,
        closing: CloseQueue,
        window_bits: int,
    ) -> None:
        super().__init__(closing)
        self._session, self._transport, self._owner = session, transport, owner
        self._window_bits = window_bits
        loop = asyncio.get_running_loop()
        self._inbox = Inbox(self, ReadSwitch(transport), loop)
        # aiohttp's limit is the smallest size that it refuses.
        limit = session.settings.max_payload + 1
        self._reader = WebSocketReader(self._inbox, limit, window_bits > 0, decode_text=True)
        self._is_fresh = True  # nothing has been received yet
        self.takes_text_only = False
        self._is_closing = False  # the close frame is sent, or the connection is gone
        self._waiting: asyncio.Future[None] | None = None
        # Set while frames are joined: during a read, and at first, to join them to the head.
        self._corked: list[bytes] | None = None

    def open(self, head: bytes, tail: bytes = b"") -> None:
        """Take over the connection: send the head of the answer together with the first packets.

        `tail` is the bytes that the client has sent after its request.
        """
        self._transport.set_protocol(self)
        self._corked = [head]
        self._session.open(self)
        self._uncork()
        if tail:
            self.data_received(tail)

    # Called by the session

    @property
    def buffered(self) -> int:
        return sum(map(len, self._corked or ())) + self._transport.get_write_buffer_size()

    def send(self, packet: Packet) -> None:
        if self.takes_text_only:
            packet = encode_base64(packet)
        if self._window_bits and len(packet) >= COMPRESS_FROM:
            self._write(deflated_frame(packet, self._window_bits))
        else:
            self._write(frame(packet))

    def send_many(self, frames: Frames) -> None:
        if self._window_bits or self.takes_text_only:
            for packet in frames.packets:
                self.send(packet)
            return
        data = frames.encoded or frames.wire
        if self._corked is not None:
            self._write(data)
        elif not self._transport.is_closing():  # `_write`, inlined: broadcasts come here
            self._transport.write(data)

    def close(self) -> None:
        """Start the closing handshake; drop the connection if the client does not complete it."""
        if not self._is_closing:
            self._say_goodbye(WSCloseCode.OK)
            self.cut_later(CLOSE_LIMIT)

    # Called by the transport

    def data_received(self, data: bytes) -> None:
        if self._is_fresh:
            self._is_fresh = False
            # aiohttp accepts unmasked frames: https://www.rfc-editor.org/rfc/rfc6455#section-5.1
            if len(data) > 1 and not data[1] & MASKED:
                self.failed(
                    WebSocketError(WSCloseCode.PROTOCOL_ERROR, "a frame that is not masked")
                )
                return
        self._corked = []
        self._reader.feed_data(data)
        self._uncork()

    def pause_writing(self) -> None:
        """Stop sending and reading: the client does not read."""
        self._inbox.unread = True
        self._session.pause(self)

    def resume_writing(self) -> None:
        """Send and read again."""
        self._inbox.unread = False
        self._session.resume(self)
        self._go_on()

    def lost(self) -> None:
        self.cut_no_more()
        # If the session ended first, the wait goes on: the awaited work may have ended it.
        if self._waiting is not None and not self._is_closing:
            self._waiting.cancel()
        self._is_closing = True
        self._session.lost(self, "transport close")
        self._inbox.drop()
        self._owner.gone(self)

    # Called by the inbox

    def deliver(self, message: Message) -> bool:
        try:
            waiting = self._session.receive_on(self, message)
        except PacketError as error:
            self._session.count_violation("engine_packet", error)
            self._session.lost(self, "parse error")
            return False
        if waiting is None:
            return False
        future: asyncio.Future[None] = asyncio.ensure_future(waiting)
        future.add_done_callback(self._waited)
        self._waiting = future
        return True

    def pinged(self, data: bytes) -> None:
        if not self._is_closing:
            self._write(pong_frame(data))

    def closed(self) -> None:
        if not self._is_closing:
            self._say_goodbye(WSCloseCode.OK)
            self._session.lost(self, "transport close")
        self._hang_up()

    def failed(self, error: Exception) -> None:
        if not self._is_closing:
            code: int = WSCloseCode.OK
            if isinstance(error, WebSocketError):
                code = error.code
                large = code == WSCloseCode.MESSAGE_TOO_BIG
                self._session.count_violation("too_large" if large else "frame", error)
            self._say_goodbye(code)
            self._session.lost(self, "transport error")
        self._hang_up(while_it_sends=True)

    def _waited(self, waiting: asyncio.Future[None]) -> None:
        self._waiting = None
        if not waiting.cancelled() and waiting.exception() is None:
            self._inbox.busy = False
            self._go_on()
            return
        if not waiting.cancelled():
            LOG.error("a message failed", exc_info=waiting.exception())
        self._transport.abort()

    def _go_on(self) -> None:
        self._corked = []
        self._inbox.go_on()
        self._uncork()

    # Writing

    def _write(self, data: bytes) -> None:
        if self._corked is not None:
            self._corked.append(data)
            if len(self._corked) == CORKED or len(data) > LARGE:
                self._uncork()
                self._corked = []
        elif not self._transport.is_closing():
            self._transport.write(data)

    def _uncork(self) -> None:
        frames, self._corked = self._corked, None
        if frames:
            self._write(frames[0] if len(frames) == 1 else b"".join(frames))

    def _say_goodbye(self, code: int) -> None:
        self._is_closing = True
        self._write(close_frame(code))

    def _hang_up(self, *, while_it_sends: bool = False) -> None:
        """Close the connection once the client has received everything, or soon in any case.

        `while_it_sends` is true if the client may send more; see `linger`.
        https://www.rfc-editor.org/rfc/rfc6455#section-7.1.1
        """
        self._uncork()
        transport = self._transport
        if while_it_sends and not transport.is_closing() and transport.can_write_eof():
            self.linger(CLOSE_LIMIT)
            return
        transport.close()
        if transport.get_write_buffer_size():
            self.cut_later(CLOSE_LIMIT)


class Recipient(Protocol):
    """The carrier as the inbox sees it, called in the order of arrival. Must not raise."""

    def deliver(self, message: str | bytes) -> bool:
        """Handle a message. If this returns true, later ones wait until `busy` is false."""

    def pinged(self, data: bytes) -> None:
        """Answer a ping frame with `data`."""

    def closed(self) -> None:
        """Handle a close frame, which starts or completes the closing handshake."""

    def failed(self, error: Exception) -> None:
        """Handle input that cannot be read; nothing follows it."""


class ReadSwitch:
    """The protocol that aiohttp's queue expects: it pauses and resumes reading."""

    __slots__ = ("_reading_paused", "_transport")

    def __init__(self, transport: asyncio.ReadTransport) -> None:
        self._transport = transport
        self._reading_paused = False

    def pause_reading(self) -> None:
        self._reading_paused = True
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._reading_paused = False
        self._transport.resume_reading()


class Inbox(WebSocketDataQueue):
    """The messages of a WebSocket, delivered in the call that read them.

    aiohttp reads frames, in C, and puts their messages into its own queue, which wakes a task. That
    costs more than handling most messages. So this queue keeps only what cannot be delivered at
    once: messages behind one that is still being handled, and messages of a client that does not
    read. The bound is aiohttp's: at it, the connection is not read.

    While `busy`, a message is being handled. While `unread`, the client does not read what it is
    sent: its messages wait, but its close frame does not. Call `go_on` when either ends.
    """

    __slots__ = ("_error", "_recipient", "busy", "unread")

    def __init__(
        self, recipient: Recipient, switch: ReadSwitch, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(switch, INBOX, loop=loop)  # type: ignore[arg-type]
        self._recipient: Recipient | None = recipient
        self._error: Exception | None = None
        self.busy = self.unread = False

    def feed_data(self, data: WSMessage, size: int) -> None:  # type: ignore[override]
        kind = data.type
        if self.busy or self._buffer or (self.unread and kind is not CLOSE):
            super().feed_data(data, size)
        elif (kind is TEXT or kind is BINARY) and (recipient := self._recipient) is not None:
            self.busy = recipient.deliver(data.data)  # `_hand_over`, inlined: most messages
        else:
            self._hand_over(data)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        assert isinstance(exc, Exception)
        # Its traceback refers to this inbox: only a full garbage collection would free it.
        self._error = exc.with_traceback(None)
        self._fail_if_due()

    def go_on(self) -> None:
        """Deliver what is queued."""
        while self._buffer and not self.busy and not self.unread:
            self.busy = True  # `_pop` may resume reading, and new messages come after this one
            message = self._pop()
            self.busy = False
            self._hand_over(message)
        self._fail_if_due()

    def drop(self) -> None:
        """Forget what is queued, and the recipient."""
        self._buffer.clear()
        self._recipient = self._protocol = None  # type: ignore[assignment]

    def _pop(self) -> WSMessage:
        reading = self.read()  # the only way to make the queue check its bound
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
