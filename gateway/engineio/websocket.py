"""A WebSocket: the protocol of a connection, from the answer that makes it one to its end.

aiohttp's parser reads frames, in C; ours are written straight to the TCP transport, which takes
them at once and in order. Nothing is sent in a task or waits in a queue of ours. Only the answers
to messages that came in one read are joined, for a write costs as much as all that is done for a
message. A client that does not read is not read from, until it does.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from aiohttp import WebSocketError, WSCloseCode, WSMessage, WSMsgType

# The queue is no part of aiohttp's promises: `tests/engineio/test_inbox.py` holds it to these.
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.http_websocket import WebSocketReader

from gateway.engineio.frames import Frames, close_frame, deflated_frame, frame, pong_frame
from gateway.engineio.packet import Message, Packet, PacketError
from gateway.engineio.session import Session
from gateway.engineio.transports import CLOSE_LIMIT, COMPRESS_FROM
from gateway.http.connection import CloseQueue, QueuedProtocol

__all__ = ["Inbox", "ReadSwitch", "Recipient", "WebSocketCarrier"]

LOG = logging.getLogger("sockgw.engine")

TEXT, BINARY, PING, CLOSE = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PING, WSMsgType.CLOSE

CORKED = 64
"""Frames that are joined to one write at most."""

LARGE = 2**12
"""Bytes of a frame that is not worth waiting for others."""

INBOX = 2**16
"""Half the bytes in the inbox at which aiohttp stops reading."""

MASKED = 0x80
"""The bit in the second byte of a frame."""


class Owner(Protocol):
    """The engine, as its WebSockets see it."""

    def gone(self, websocket: WebSocketCarrier) -> None:
        """The connection is lost; called once."""


class WebSocketCarrier(QueuedProtocol):
    """One WebSocket connection. `window_bits` are of permessage-deflate, 0 without it."""

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
        # aiohttp's limit is the first size it refuses.
        limit = session.settings.max_payload + 1
        self._reader = WebSocketReader(self._inbox, limit, window_bits > 0, decode_text=True)
        self._is_fresh = True  # nothing came yet
        self._is_closing = False  # we have sent our close frame, or are gone
        self._waiting: asyncio.Future[None] | None = None
        # Set while a read is being delivered, and at first, for what goes out with the head.
        self._corked: list[bytes] | None = None

    def open(self, head: bytes, tail: bytes = b"") -> None:
        """Take over the connection: send the head of the answer, and the first packets with it.

        `tail` is what the client has sent behind its request.
        """
        self._transport.set_protocol(self)
        self._corked = [head]
        self._session.open(self)
        self._uncork()
        if tail:
            self.data_received(tail)

    # What the session asks for

    @property
    def buffered(self) -> int:
        return sum(map(len, self._corked or ())) + self._transport.get_write_buffer_size()

    def send(self, packet: Packet) -> None:
        if self._window_bits and len(packet) >= COMPRESS_FROM:
            self._write(deflated_frame(packet, self._window_bits))
        else:
            self._write(frame(packet))

    def send_many(self, frames: Frames) -> None:
        if self._window_bits:
            for packet in frames.packets:
                self.send(packet)
            return
        data = frames.encoded or frames.wire
        if self._corked is not None:
            self._write(data)
        elif not self._transport.is_closing():  # as `_write`, for each recipient of a broadcast
            self._transport.write(data)

    def close(self) -> None:
        """Close the connection, in order if the client helps, in any case soon."""
        if not self._is_closing:
            self._say_goodbye(WSCloseCode.OK)
            self.cut_later(CLOSE_LIMIT)

    # What the transport calls

    def data_received(self, data: bytes) -> None:
        if self._is_fresh:
            self._is_fresh = False
            # aiohttp would let it: https://www.rfc-editor.org/rfc/rfc6455#section-5.1
            if len(data) > 1 and not data[1] & MASKED:
                self.failed(
                    WebSocketError(WSCloseCode.PROTOCOL_ERROR, "a frame that is not masked")
                )
                return
        self._corked = []
        self._reader.feed_data(data)
        self._uncork()

    def pause_writing(self) -> None:
        """The client does not read."""
        self._inbox.unread = True
        self._session.pause(self)

    def resume_writing(self) -> None:
        """The client reads again."""
        self._inbox.unread = False
        self._session.resume(self)
        self._go_on()

    def lost(self) -> None:
        self.cut_no_more()
        # What a message waits for is not cut short where the session ended before: that may be
        # its doing.
        if self._waiting is not None and not self._is_closing:
            self._waiting.cancel()
        self._is_closing = True
        self._session.lost(self, "transport close")
        self._inbox.drop()
        self._owner.gone(self)

    # What the inbox hands over.

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
        """Close the connection, once the client has what was sent to it, in any case soon.

        What a client goes on sending and nobody reads would have TCP reset the connection, and the
        client lose the close frame: https://www.rfc-editor.org/rfc/rfc6455#section-7.1.1
        """
        self._uncork()
        transport = self._transport
        if while_it_sends and not transport.is_closing() and transport.can_write_eof():
            transport.write_eof()
            transport.resume_reading()
            self.cut_later(CLOSE_LIMIT)
            return
        transport.close()
        if transport.get_write_buffer_size():
            self.cut_later(CLOSE_LIMIT)


class Recipient(Protocol):
    """The carrier, as the inbox sees it: takes what comes, in order. None of these may raise."""

    def deliver(self, message: str | bytes) -> bool:
        """Take a message. If this is true, what comes behind it waits until `busy` is false."""

    def pinged(self, data: bytes) -> None:
        """The client wants this echoed."""

    def closed(self) -> None:
        """The client closes the WebSocket, or has agreed to that."""

    def failed(self, error: Exception) -> None:
        """What the client sends cannot be read; nothing more comes."""


class ReadSwitch:
    """What aiohttp's queue asks for: switches reading off and on."""

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
    """What comes on a WebSocket, handed over in the call that read it.

    aiohttp reads frames, in C, and puts what they say into a queue of its own, which wakes a task:
    that costs more than most messages do. Here only what cannot be taken at once is queued: what
    comes behind a message that is still being waited for, and messages to a client that does not
    read. The queue's bound is aiohttp's, and so is what happens at it: the connection is not read
    from.

    While `busy`, a message is waited for. While `unread`, the client does not take what it is
    sent: its messages wait, its end does not. `go_on` is to be called once one of the two is over.
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
            self.busy = recipient.deliver(data.data)  # as `_hand_over`, for most messages
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
