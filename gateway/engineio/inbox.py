"""What has come on a WebSocket and is not handled yet, and how much of it one turn handles."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Protocol

from gateway.engineio.pacing import BUDGET
from gateway.engineio.packet import PacketError
from gateway.engineio.reader import (
    FIN_TEXT,
    LONGER,
    SIZES,
    FrameError,
    FrameReader,
    Ping,
    Signal,
    not_utf8,
    unmask,
)
from gateway.engineio.session import Session
from gateway.engineio.transports import WebSocket

__all__ = ["Inbox", "Recipient"]

LOG = logging.getLogger("sockgw.engine")

TURN = range(BUDGET)
"""Frames that one turn of the loop handles, of any kind."""

REST = range(BUDGET - 1)
"""Those behind the first."""

TURN_SIZE = 2**16
"""Bytes after which a turn is over as well."""

COPIED = 2**12
"""Size below which a read is copied as a whole, in bytes."""

UNREAD = 2**16
"""Bytes that may wait before the connection stops reading."""


class Recipient(WebSocket, Protocol):
    """The carrier as its inbox sees it, called in the order of arrival. Must not raise."""

    def pinged(self, payload: bytes) -> None:
        """Answer a ping frame."""

    def closed(self) -> None:
        """Handle a close frame, which starts or completes the closing handshake."""

    def failed(self, error: FrameError) -> None:
        """Handle bytes that are not valid; nothing follows them."""

    def go_on(self) -> None:
        """Call `read`: what waits can be handled now."""


class Inbox:
    """The frames of a WebSocket, handled in the call that received them, or later.

    They wait behind a message that is still being handled. They wait while `is_unread`: the client
    does not read what it is sent; only a close frame, or a bad one, is then handled if it is next.
    And they wait for the next turn of the loop when a turn has handled enough, for all others have
    their turn in between. What waits is bounded: beyond that, the connection is not read.
    """

    __slots__ = (
        "_is_over",
        "_is_paused",
        "_reader",
        "_recipient",
        "_session",
        "_transport",
        "_turn",
        "_uncharged",
        "_waiting",
        "is_unread",
    )

    def __init__(
        self,
        recipient: Recipient,
        session: Session,
        transport: asyncio.Transport,
        reader: FrameReader,
    ) -> None:
        self._recipient, self._session = recipient, session
        self._transport, self._reader = transport, reader
        self._waiting: asyncio.Future[None] | None = None  # the message that is being handled
        self._turn: asyncio.Handle | None = None  # the next one, if frames wait for it
        self._uncharged = 0  # frames that the session was not charged for yet
        self._is_paused = False  # the connection is not read
        self._is_over = False  # nothing is handled any more
        self.is_unread = False

    def feed(self, data: bytes) -> None:
        """Handle what was received, or let it wait."""
        if self._waiting or self._turn or self.is_unread or self._is_over:
            self._keep(data)
        else:
            self._read(data)

    def read(self) -> None:
        """Handle what waits, if nothing holds it up any more."""
        if self._waiting or self._turn or self.is_unread or self._is_over:
            self._settle()
        else:
            self._read(b"")

    def end(self, *, cancel: bool) -> None:
        """Handle nothing more; with `cancel`, cut short the message that is being handled."""
        self._is_over = True
        self._recipient = None  # type: ignore[assignment]  # breaks a reference cycle
        if self._turn is not None:
            self._turn.cancel()
        if self._waiting is not None and cancel:
            self._waiting.cancel()

    def _read(self, data: bytes) -> None:
        """Handle what waits and what was received, as much as one turn of the loop may."""
        reader, size = self._reader, len(data) - 6
        try:
            if (
                size >= 0
                and SIZES[data[1]] == size
                and data[0] == FIN_TEXT
                and reader.is_fresh
                and not reader.data
            ):
                text = bytearray(data[6:])  # `FrameReader.whole`, inlined: most reads
                unmask(data[2:6], text)
                waiting = self._session.receive_on(self._recipient, text.decode())
                if waiting is not None:
                    self._wait_for(waiting)
            else:
                self._read_all(data)
        except UnicodeDecodeError:
            self._fail(not_utf8())
        except FrameError as error:
            self._fail(error)
        except PacketError as error:
            self._session.count_violation("engine_packet", error)
            self._session.lost(self._recipient, "parse error")
            self._take_turns()  # its close frame is still to come
        if self._uncharged or self._is_paused or self.is_unread:
            self._settle()

    def _read_all(self, data: bytes) -> None:
        """Handle any frames; a longer one at the beginning is mostly the only one."""
        reader = self._reader
        message = None
        if reader.data:
            reader.feed(data)
        else:
            reader.data = data
            if reader.is_fresh and data[1:2] == LONGER:
                message = reader.whole()
        if message is None:
            self._read_on(TURN)
            return
        if reader.at == len(data):
            reader.data, reader.at = b"", 0
        waiting = self._session.receive_on(self._recipient, message)
        if waiting is not None:
            self._wait_for(waiting)
        elif reader.data and not self.is_unread:
            self._read_on(REST)

    def _read_on(self, frames: range) -> None:
        """Handle some frames, or as many as can be handled now."""
        reader, recipient, receive = self._reader, self._recipient, self._session.receive_on
        data, at = reader.data, reader.at
        end = len(data)
        is_long = end - at >= TURN_SIZE
        last = at + TURN_SIZE if is_long else end
        texts = bytearray(data) if end < COPIED else None  # one copy costs less than many
        for _ in frames:
            if at >= last and (at < end or reader.is_fresh):
                break
            body = at + 6
            if body < end and data[at] == FIN_TEXT and reader.is_fresh:
                stop = body + SIZES[data[at + 1]]
                if stop <= end:  # `FrameReader.whole`, inlined: most frames
                    text = texts[body:stop] if texts else bytearray(data[body:stop])
                    unmask(data[at + 2 : body], text)
                    reader.at = at = stop
                    waiting = receive(recipient, text.decode())
                    if waiting is not None:
                        self._wait_for(waiting)
                        break
                    if self.is_unread:
                        break
                    continue
            if not self._read_one():
                break
            at = reader.at
        else:
            is_long, last = True, at
        at = reader.at
        if at == end:
            reader.data, reader.at = b"", 0
        if is_long and at >= last and not self._is_over:
            self._take_turns()

    def _read_one(self) -> bool:
        """Handle the next frame; false if the one after it cannot be handled yet."""
        event = self._reader.next()
        if event is None:
            return False
        if isinstance(event, (str, bytes)):
            waiting = self._session.receive_on(self._recipient, event)
            if waiting is not None:
                self._wait_for(waiting)
                return False
        else:
            self._handle(event)
        return not (self.is_unread or self._is_over)

    def _keep(self, data: bytes) -> None:
        if self._is_over:
            return
        self._reader.feed(data)
        self._settle()
        if self._reader.unread > UNREAD:
            self._pause()

    def _handle(self, event: Ping | Signal) -> None:
        """Handle a frame that is no message."""
        self._uncharged += 1
        if isinstance(event, Ping):
            self._recipient.pinged(event.payload)
        elif event is Signal.CLOSE:
            self._is_over = True
            self._recipient.closed()

    def _fail(self, error: FrameError) -> None:
        self._is_over = True
        self._recipient.failed(error)

    def _settle(self) -> None:
        """Charge for frames, look for the end, read the connection again: all of it rare."""
        if self._is_over:
            return
        if self._uncharged and self._waiting is None:
            charged, self._uncharged = self._uncharged, 0
            waiting = self._session.charge(charged)
            if waiting is not None:
                self._wait_for(waiting)
        if self._turn is not None:
            return
        if self.is_unread and self._waiting is None:
            self._look_for_the_end()
        if self._is_paused and not self._is_over and self._reader.unread <= UNREAD:
            self._is_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def _look_for_the_end(self) -> None:
        """Handle the next frame if it is the last."""
        try:
            if self._reader.peek() is Signal.CLOSE:
                self._handle(Signal.CLOSE)
        except FrameError as error:
            self._fail(error)

    def _pause(self) -> None:
        if not self._is_paused and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    # Waiting

    def _take_turns(self) -> None:
        """Go on in the next turn of the loop. Until then the connection is not read.

        uvloop would go on reading what is there, for many turns' worth.
        """
        self._turn = asyncio.get_running_loop().call_soon(self._next_turn)
        self._pause()

    def _next_turn(self) -> None:
        self._turn = None
        self._recipient.go_on()

    def _wait_for(self, waiting: Awaitable[None]) -> None:
        self._waiting = asyncio.ensure_future(waiting)
        self._waiting.add_done_callback(self._waited)

    def _waited(self, waiting: asyncio.Future[None]) -> None:
        self._waiting = None
        if not waiting.cancelled() and waiting.exception() is None:
            if not self._is_over:
                self._recipient.go_on()
            return
        if not waiting.cancelled():
            LOG.error("a message failed", exc_info=waiting.exception())
        self._transport.abort()
