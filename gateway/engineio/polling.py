"""HTTP long-polling: GET requests take packets, POST requests bring them."""

from __future__ import annotations

import asyncio
import logging
import re
import zlib
from collections.abc import Awaitable, Iterator
from typing import Protocol

from gateway.engineio.counted import RAISE_PAYLOAD
from gateway.engineio.pacing import BUDGET, NEXT_TURN
from gateway.engineio.packet import NOOP, Packet, PacketError, decode_payload, encode_payload
from gateway.engineio.refusals import Refusal, refuse, too_large
from gateway.engineio.session import Polling, Session
from gateway.engineio.transports import CLOSE_LIMIT, COMPRESS_FROM
from gateway.http.exchange import Connection
from gateway.http.request import Request
from gateway.http.response import Answer

__all__ = ["PollExchange", "PostExchange"]

LOG = logging.getLogger("sockgw.engine")

PAYLOAD = "Content-Type: text/plain; charset=UTF-8\r\nCache-Control: no-store\r\n"
# Not text/plain, which some browsers offer to download.
OK = "Content-Type: text/html\r\nCache-Control: no-store\r\n"

GZIP = re.compile(r"(?:^|,)\s*gzip\s*(?:;\s*q=(?!0(?:\.0*)?\s*(?:,|$))|,|$)", re.IGNORECASE)
"""Matches an `Accept-Encoding` that allows gzip."""

WINDOWS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
"""Content encodings that a body may have, with the window bits that zlib needs for each."""


class Answering(Protocol):
    """A connection as a poll sees it."""

    def answer(self, answer: Answer) -> None: ...

    def cut_later(self, seconds: float) -> None: ...

    def cut_no_more(self) -> None: ...


class PollExchange:
    """A GET request that waits for packets. `fields` are header fields for its answer."""

    __slots__ = (
        "_connection",
        "_fields",
        "_is_awake",
        "_is_gone",
        "_polling",
        "_request",
        "_session",
    )

    def __init__(
        self,
        session: Session,
        polling: Polling,
        request: Request,
        connection: Answering,
        fields: str,
    ) -> None:
        self._session, self._polling = session, polling
        self._request, self._connection, self._fields = request, connection, fields
        self._is_awake = self._is_gone = False

    @property
    def body_limit(self) -> int:
        return self._session.settings.max_payload

    def finish(self, body: bytes) -> None:
        self._polling.poll(self)

    def too_large(self) -> None:
        self._connection.answer(too_large(self._fields))

    def broken(self) -> None:
        """Do nothing: the session has not seen this poll yet."""

    def written(self) -> None:
        self._polling.answered(self)
        self._connection.cut_no_more()

    def lost(self) -> None:
        self._is_gone = True
        self._session.lost(self, "transport error")

    def withdraw(self) -> None:
        """Give up the poll, which can come again; and the session only if packets may be lost."""
        self._is_gone = True
        if not self._polling.withdraw(self):
            self._session.lost(self, "transport error")

    # Called by the session

    def wake(self) -> None:
        # Not at once: everything sent in this turn of the loop goes out in one answer.
        if not self._is_awake:
            self._is_awake = True
            asyncio.get_running_loop().call_soon(self._answer)

    def give_way(self) -> None:
        self._is_gone = True
        answer = Answer(200, self._fields + PAYLOAD, encode_payload([NOOP]))
        self._connection.answer(answer)

    def expire_soon(self) -> None:
        self._connection.cut_later(CLOSE_LIMIT)

    def _answer(self) -> None:
        if self._is_gone:
            return
        packets = self._polling.next_payload(self)
        if packets is None:
            self._connection.answer(refuse(Refusal.BAD_REQUEST, self._fields))
            return
        body, fields = encode_payload(packets), self._fields + PAYLOAD
        if self._session.settings.compression and len(body) >= COMPRESS_FROM:
            body, fields = self._compressed(body, fields)
        self._connection.answer(Answer(200, fields, body))

    def _compressed(self, body: bytes, fields: str) -> tuple[bytes, str]:
        if not GZIP.search(self._request.headers.get("accept-encoding", "")):
            return body, fields
        gzip = zlib.compressobj(wbits=WINDOWS["gzip"])
        return gzip.compress(body) + gzip.flush(), f"{fields}Content-Encoding: gzip\r\n"


class PostExchange:
    """A POST request that brings packets. `fields` are header fields for its answer."""

    __slots__ = ("_connection", "_fields", "_is_read", "_polling", "_request", "_session", "_task")

    def __init__(
        self,
        session: Session,
        polling: Polling,
        request: Request,
        connection: Connection,
        fields: str,
    ) -> None:
        self._session, self._polling = session, polling
        self._request, self._connection, self._fields = request, connection, fields
        self._is_read = False
        self._task: asyncio.Task[None] | None = None

    @property
    def body_limit(self) -> int:
        return self._session.settings.max_payload

    def finish(self, body: bytes) -> None:
        self._is_read = True
        encoding = self._request.headers.get("content-encoding")
        if encoding is not None:
            try:
                body = _decompressed(body, encoding.lower(), self.body_limit + 1)
            except zlib.error:
                self.broken()
                self._connection.abort()
                return
        if len(body) > self.body_limit:
            self.too_large()
            return
        packets = decode_payload(body)
        try:
            waiting = self._receive(packets)
        except PacketError as error:
            self._fail(error)
            return
        if waiting is None:
            self._succeed()
        else:
            self._task = asyncio.create_task(self._go_on(packets, waiting))

    def too_large(self) -> None:
        self._polling.posted()
        self._session.count_violation("too_large", "a body over the limit", RAISE_PAYLOAD)
        self._connection.answer(too_large(self._fields))

    def broken(self) -> None:
        self._polling.posted()
        self._session.count_violation("http", "a body that cannot be read")
        self._session.end("transport error")

    def written(self) -> None:
        """Do nothing: the session already has the packets."""

    def lost(self) -> None:
        if self._task is not None:
            self._task.cancel()
        else:
            self._polling.posted()
            self._session.end("transport error")

    def expire_soon(self) -> None:
        """Drop the connection if the body is still to come: the session is over."""
        if not self._is_read:
            self._connection.abort()

    def _receive(self, packets: Iterator[Packet]) -> Awaitable[None] | None:
        """Pass packets to the session until the next one has to wait."""
        for count, packet in enumerate(packets, 1):
            waiting = self._session.receive(packet)
            if waiting is not None:
                return waiting
            if count == BUDGET:
                return NEXT_TURN
        return None

    async def _go_on(self, packets: Iterator[Packet], waiting: Awaitable[None] | None) -> None:
        try:
            while waiting is not None:
                await waiting
                waiting = self._receive(packets)
        except PacketError as error:
            self._fail(error)
        except asyncio.CancelledError:
            self._polling.posted()
            self._session.end("transport error")
            raise
        except Exception:
            LOG.exception("a message failed")
            self._polling.posted()
            self._connection.abort()
        else:
            self._succeed()

    def _succeed(self) -> None:
        self._polling.posted()
        self._connection.answer(Answer(200, self._fields + OK, b"ok"))

    def _fail(self, error: PacketError) -> None:
        self._polling.posted()
        self._session.count_violation("engine_packet", error)
        self._session.end("parse error")
        self._connection.answer(refuse(Refusal.BAD_REQUEST, self._fields))


def _decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    """Decompress a body, up to `limit` bytes. Raises `zlib.error`.

    A body with an unknown encoding is returned unchanged.
    """
    window = WINDOWS.get(encoding)
    if window is None:
        return body
    if encoding == "deflate" and body[:1] and body[0] & 0xF != zlib.DEFLATED:
        window = -window  # some clients leave out zlib's header
    return zlib.decompressobj(window).decompress(body, limit)
