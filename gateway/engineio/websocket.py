"""A WebSocket connection, from the answer that opens it to its end.

Frames are read and handled in the call that received them; see `Inbox` for those that wait. Frames
are written straight to the TCP transport, which takes them at once and in order: no task and no
queue of ours is in between. Only the answers to messages that arrived in one read are joined,
because a write costs as much as everything else that is done for a message. While a client does not
read, its messages are not read either.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from gateway.engineio.counted import RAISE_PAYLOAD
from gateway.engineio.frames import (
    CloseCode,
    Frames,
    close_frame,
    deflated_frame,
    frame,
    pong_frame,
)
from gateway.engineio.inbox import Inbox
from gateway.engineio.packet import Packet, encode_base64
from gateway.engineio.reader import FrameError, FrameReader
from gateway.engineio.session import Session
from gateway.engineio.transports import CLOSE_LIMIT, COMPRESS_FROM
from gateway.http.closing import CloseQueue, QueuedProtocol

__all__ = ["WebSocketCarrier"]

CORKED = 64
"""Most frames that are joined into one write."""

LARGE = 2**12
"""Size from which a frame is written without waiting for others, in bytes."""


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
        "_owner",
        "_session",
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
        reader = FrameReader(session.settings.max_payload, inflates=window_bits > 0)
        self._inbox = Inbox(self, session, transport, reader)
        self.takes_text_only = False
        self._is_closing = False  # the close frame is sent, or the connection is gone
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
            self._say_goodbye(CloseCode.OK)
            self.cut_later(CLOSE_LIMIT)

    # Called by the transport

    def data_received(self, data: bytes) -> None:
        self._corked = []
        self._inbox.feed(data)
        self._uncork()

    def pause_writing(self) -> None:
        """Stop sending and reading: the client does not read."""
        self._inbox.is_unread = True
        self._session.pause(self)

    def resume_writing(self) -> None:
        """Send and read again."""
        self._inbox.is_unread = False
        self._session.resume(self)
        self.go_on()

    def lost(self) -> None:
        self.cut_no_more()
        # If the session ended first, the wait goes on: the awaited work may have ended it.
        self._inbox.end(cancel=not self._is_closing)
        self._is_closing = True
        self._session.lost(self, "transport close")
        self._owner.gone(self)

    # Called by the inbox

    def pinged(self, payload: bytes) -> None:
        if not self._is_closing:
            self._write(pong_frame(payload))

    def closed(self) -> None:
        if not self._is_closing:
            self._say_goodbye(CloseCode.OK)
            self._session.lost(self, "transport close")
        self._hang_up()

    def failed(self, error: FrameError) -> None:
        if not self._is_closing:
            large = error.code is CloseCode.TOO_BIG
            cure = RAISE_PAYLOAD if large else ""
            self._session.count_violation("too_large" if large else "frame", error, cure)
            self._say_goodbye(error.code)
            self._session.lost(self, "transport error")
        self._hang_up(while_it_sends=True)

    def go_on(self) -> None:
        self._corked = []
        self._inbox.read()
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

    def _say_goodbye(self, code: CloseCode) -> None:
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
