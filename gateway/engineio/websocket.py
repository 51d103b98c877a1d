"""A WebSocket: the protocol of a connection, from the answer that makes it one to its end.

aiohttp's parser reads it, the frames are ours. They go straight to the TCP transport, which takes
them at once and in order: nothing sends in a task or waits in a queue of ours. Only the answers to
messages that came in one read are joined, for a write costs as much as all that is done for a
message. A client that does not read is not read from, until it does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Protocol

from aiohttp import WebSocketError, WSCloseCode
from aiohttp.http_websocket import WebSocketReader

from gateway.engineio.carrier import CLOSE_LIMIT, COMPRESS_FROM
from gateway.engineio.exit import Exit, Leaver
from gateway.engineio.frame import Frames, close_frame, deflated_frame, frame, pong_frame
from gateway.engineio.inbox import Inbox
from gateway.engineio.packet import Message, Packet, PacketError
from gateway.engineio.session import Session

__all__ = ["Place", "WebSocketCarrier"]

LOG = logging.getLogger("sockgw.engine")

CORKED = 64
"""Frames that are joined to one write at most."""

LARGE = 2**12
"""Bytes of a frame that is not worth waiting for others."""

MASKED = 0x80
"""The bit in the second byte of a frame."""


class Place(Protocol):
    """Where WebSockets live."""

    exit: Exit

    def gone(self, websocket: WebSocketCarrier) -> None:
        """The connection is lost; called once."""


class WebSocketCarrier(Leaver):
    """One WebSocket connection. `window_bits` are of permessage-deflate, 0 without it."""

    __slots__ = (
        "_corked",
        "_cut",
        "_inbox",
        "_is_closing",
        "_is_fresh",
        "_place",
        "_reader",
        "_reading_paused",
        "_session",
        "_waiting",
        "_window_bits",
    )

    def __init__(
        self, session: Session, transport: asyncio.Transport, place: Place, window_bits: int
    ) -> None:
        super().__init__(place.exit)
        self._session, self._transport, self._place = session, transport, place
        self._window_bits = window_bits
        loop = asyncio.get_running_loop()
        self._inbox = Inbox(self, loop)
        # aiohttp's limit is the first size it refuses.
        limit = session.settings.max_payload + 1
        self._reader = WebSocketReader(self._inbox, limit, window_bits > 0, decode_text=True)
        self._reading_paused = False  # by the inbox
        self._is_fresh = True  # nothing came yet
        self._is_closing = False  # we have sent our close frame, or are gone
        self._cut: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Future[object] | None = None
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

    # What the session asks for.

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
        else:
            self._write(frames.wire)

    def close(self) -> None:
        """Close the connection, in order if the client helps, in any case soon."""
        if not self._is_closing:
            self._say_goodbye(WSCloseCode.OK)
            self._cut_later()

    # What the connection tells.

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
        self.paused()

    def resume_writing(self) -> None:
        self.resumed()

    def paused(self) -> None:
        """The client does not read."""
        self._inbox.unread = True
        self._session.pause(self)

    def resumed(self) -> None:
        """The client reads again."""
        self._inbox.unread = False
        self._session.resume(self)
        self._go_on()

    def leave(self, error: Exception | None) -> None:
        if self._cut is not None:
            self._cut.cancel()
        # What a message waits for is not cut short where the session ended before: that may be
        # its doing.
        if self._waiting is not None and not self._is_closing:
            self._waiting.cancel()
        self._is_closing = True
        self._session.lost(self, "transport close")
        self._inbox.drop()
        self._place.gone(self)

    # The inbox's recipient.

    def deliver(self, message: Message) -> bool:
        try:
            waiting = self._session.receive_on(self, message)
        except PacketError as error:
            self._session.count_violation("engine_packet", error)
            self._session.lost(self, "parse error")
            return False
        if waiting is None:
            return False
        self._wait_for(waiting)
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
        self._hang_up_on_sender()

    def pause_reading(self) -> None:
        self._reading_paused = True
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._reading_paused = False
        self._transport.resume_reading()

    def _wait_for(self, waiting: Awaitable[object]) -> None:
        self._waiting = asyncio.ensure_future(waiting)
        self._waiting.add_done_callback(self._waited)

    def _waited(self, waiting: asyncio.Future[object]) -> None:
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

    # Writing.

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

    def _hang_up(self) -> None:
        """Close the connection, once the client has what was sent to it, in any case soon."""
        self._uncork()
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._cut_later()

    def _hang_up_on_sender(self) -> None:
        """Hang up on a client that may go on sending.

        What it has sent and nobody reads would have TCP reset the connection, and the client lose
        the close frame: https://www.rfc-editor.org/rfc/rfc6455#section-7.1.1
        """
        if self._transport.is_closing() or not self._transport.can_write_eof():
            self._hang_up()
            return
        self._uncork()
        self._transport.write_eof()
        self._transport.resume_reading()
        self._cut_later()

    def _cut_later(self) -> None:
        if self._cut is None:
            loop = asyncio.get_running_loop()
            self._cut = loop.call_later(CLOSE_LIMIT, self._transport.abort)
