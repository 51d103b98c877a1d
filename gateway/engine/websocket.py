"""WebSocket over aiohttp: its handshake, its reader and its close, our frames.

Frames go straight to the TCP transport, which takes them at once and in order: nothing sends in
a task or waits in a queue of ours. Only the answers to messages that came in one read are joined,
for a write costs as much as all that is done for a message. A client that does not read is not
read from, until it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping

from aiohttp import WebSocketError, WSCloseCode, WSMessage, WSMsgType, hdrs, web
from aiohttp.abc import AbstractStreamWriter

from gateway.engine.carrier import CLOSE_LIMIT, COMPRESS_FROM, Reason
from gateway.engine.frame import Frames, deflated_frame, frame
from gateway.engine.inbox import WAIT, InboxResponse
from gateway.engine.packet import Message, Packet, PacketError
from gateway.engine.session import Session
from gateway.engine.settings import Settings

__all__ = ["WebSocketCarrier", "is_websocket"]

MESSAGES = (WSMsgType.TEXT, WSMsgType.BINARY, WAIT)

CORKED = 64
"""Frames that are joined to one write at most."""

LARGE = 2**12
"""Bytes of a frame that is not worth waiting for others."""


def is_websocket(request: web.Request) -> bool:
    """Whether a request asks for a WebSocket, in a way that can be granted."""
    return request.method == hdrs.METH_GET and web.WebSocketResponse().can_prepare(request).ok


class WebSocketCarrier:
    """One WebSocket connection, from its handshake to its end."""

    def __init__(self, request: web.Request, settings: Settings) -> None:
        self.response = InboxResponse(
            timeout=CLOSE_LIMIT,
            compress=settings.compression,
            max_msg_size=settings.max_payload + 1,  # aiohttp's limit is the first size it refuses
        )
        self._request = request
        self._transport = request.transport
        self._window_bits = 0  # of permessage-deflate, 0 without it
        self._reading: asyncio.Timeout | None = None  # set while it is the client we wait for
        self._closing = False
        self._session: Session
        # Set while a read is being delivered, and at first, for what goes out with the head.
        self._corked: list[bytes] | None = []
        self._opened = False

    async def carry(self, session: Session, headers: Mapping[str, str]) -> None:
        """Complete the handshake, then read until either side ends."""
        self.response.headers.update(headers)
        self.response.keep_head()
        writer = await self.response.prepare(self._request)
        self._window_bits = int(self.response.compress)
        self._session = session
        reason: Reason = "transport close"
        try:
            await self._open(writer)
            self.response.inbox.recipient = self
            if hasattr(self._request.protocol, "flow"):
                self._request.protocol.flow = self._flow
            async with asyncio.timeout(None) as self._reading:
                reason = await self._read(writer)
        except TimeoutError:
            pass  # the session is over
        finally:
            self._reading = None
            if hasattr(self._request.protocol, "flow"):
                self._request.protocol.flow = None
            session.lost(self, reason)
            self.response.inbox.drop()
        await self._shut()

    async def _open(self, writer: AbstractStreamWriter) -> None:
        """Send the head of the answer, and the first packets with it."""
        self._session.open(self)
        first, self._corked = b"".join(self._corked or ()), None
        self._opened = True
        if first:
            await writer.write(first)
        else:
            writer.send_headers()

    @property
    def buffered(self) -> int:
        corked = sum(map(len, self._corked or ()))
        return corked + (self._transport.get_write_buffer_size() if self._transport else 0)

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
        self._closing = True
        if self._reading is not None:
            self._reading.reschedule(asyncio.get_running_loop().time())

    def _flow(self, goes: bool) -> None:
        (self._session.resume if goes else self._session.pause)(self)

    # The inbox's recipient.

    def cork(self) -> None:
        self._corked = []

    def deliver(self, message: Message) -> Awaitable[None] | None:
        try:
            return self._session.receive_on(self, message)
        except PacketError as error:
            self._session.offends("engine_packet", error)
            self._session.lost(self, "parse error")
            return None

    def uncork(self) -> None:
        frames, self._corked = self._corked, None
        if frames:
            self._write(b"".join(frames))

    def _write(self, data: bytes) -> None:
        if self._corked is not None:
            self._corked.append(data)
            if self._opened and (len(self._corked) == CORKED or len(data) > LARGE):
                self.uncork()
                self.cork()
        elif self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    async def _read(self, writer: AbstractStreamWriter) -> Reason:
        """Take the messages that could not be taken in the call that read them."""
        receive, protocol = self.response.receive, self._request.protocol
        inbox = self.response.inbox
        while not self._closing:
            message = await receive()
            if message.type not in MESSAGES:
                return self._judge(message)
            inbox.busy = True
            waits = message.type is WAIT
            waiting = message.data if waits else self.deliver(message.data)
            if waiting is not None:
                await self._undisturbed(waiting)
            inbox.busy = False
            if protocol.writing_paused:
                await writer.drain()
        return "transport close"

    def _judge(self, end: WSMessage) -> Reason:
        """Why what is no message ends the connection."""
        if isinstance(end.data, WebSocketError):
            large = end.data.code == WSCloseCode.MESSAGE_TOO_BIG
            self._session.offends("too_large" if large else "frame", end.data)
        return "transport error" if end.type is WSMsgType.ERROR else "transport close"

    async def _undisturbed(self, waiting: Awaitable[None]) -> None:
        """Wait for what is not to be cut short when the session ends: that may be its doing."""
        reading, self._reading = self._reading, None
        await waiting
        self._reading = reading

    async def _shut(self) -> None:
        """Close the connection, in order if the client helps, in any case soon."""
        if self._transport is None:
            return
        cut = asyncio.get_running_loop().call_later(CLOSE_LIMIT, self._transport.abort)
        try:
            await self.response.close()
        finally:
            self.response.forget()
            if not self.buffered:
                cut.cancel()
