"""Long-polling answered in the call that read the request: no task, no request of aiohttp's.

These cost more than everything else that is done for a poll. What is told here is the same as in
`polling`, whose functions answer the requests that are not plain.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterator, Mapping
from typing import Protocol

from aiohttp import hdrs

from gateway.engineio.carrier import CLOSE_LIMIT
from gateway.engineio.packet import Packet, PacketError, decode_payload, encode_payload
from gateway.engineio.polling import OK, PAYLOAD
from gateway.engineio.refusal import Refusal, refuse
from gateway.engineio.response import answer, lines
from gateway.engineio.session import Session

__all__ = ["Answer", "DirectPoll", "DirectPost", "Line"]

LOG = logging.getLogger("sockgw.engine")

OK_LINES, PAYLOAD_LINES = lines(OK), lines(PAYLOAD)


class Line(Protocol):
    """The connection that a request came on."""

    def write(self, data: bytes) -> None:
        """Send; `Answer.written` is called when the client has taken, or soon will have, all."""

    def abort(self) -> None:
        """Drop the connection."""


class Answer:
    """A request under way. `headers` are those that CORS asks for."""

    __slots__ = ("_headers", "_line", "_session")

    def __init__(self, session: Session, line: Line, headers: Mapping[str, str]) -> None:
        self._session, self._line, self._headers = session, line, headers

    def written(self) -> None:
        """The answer is written: the next request may come."""

    def lost(self) -> None:
        """The connection is gone."""

    def _reply(self, fields: str, body: bytes, status: str = "200 OK") -> None:
        self._line.write(answer(status, lines(self._headers) + fields, body))

    def _refuse(self) -> None:
        refusal = refuse(Refusal.BAD_REQUEST, {})
        assert isinstance(refusal.body, bytes)
        fields = f"{hdrs.CONTENT_TYPE}: {refusal.content_type}\r\n"
        self._reply(fields, refusal.body, f"{refusal.status} {refusal.reason}")


class DirectPoll(Answer):
    """A GET request that waits for packets."""

    __slots__ = ("_awake", "_cut", "_gone")

    def begin(self) -> None:
        """Ask the session for packets."""
        self._awake = self._gone = False
        self._cut: asyncio.TimerHandle | None = None
        self._session.poll(self)

    def wake(self) -> None:
        # Later: what is sent in the same turn of the loop is to go out with the same answer.
        if not self._awake:
            self._awake = True
            asyncio.get_running_loop().call_soon(self._take)

    def hurry(self) -> None:
        self._cut = asyncio.get_running_loop().call_later(CLOSE_LIMIT, self._line.abort)

    def written(self) -> None:
        self._session.answered(self)
        self._relax()

    def lost(self) -> None:
        self._gone = True
        self._session.lost(self, "transport error")
        self._relax()

    def _take(self) -> None:
        if self._gone:
            return
        packets = self._session.take(self)
        if packets is None:
            self._refuse()
        else:
            self._reply(PAYLOAD_LINES, encode_payload(packets))

    def _relax(self) -> None:
        if self._cut is not None:
            self._cut.cancel()


class DirectPost(Answer):
    """A POST request, with all of its body."""

    __slots__ = ("_task",)

    def begin(self, body: bytes) -> None:
        """Give the session the packets in `body`, in order."""
        self._task: asyncio.Task[None] | None = None
        if not self._session.post(self):
            self._refuse()
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

    def hurry(self) -> None:
        """Nothing is still to come."""

    def lost(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()

    def _receive(self, packets: Iterator[Packet]) -> Awaitable[None] | None:
        """Hand over packets, up to one after which the next has to wait."""
        for packet in packets:
            waiting = self._session.receive(packet)
            if waiting is not None:
                return waiting
        return None

    async def _go_on(self, packets: Iterator[Packet], waiting: Awaitable[None] | None) -> None:
        try:
            while waiting is not None:
                await waiting
                waiting = self._receive(packets)
        except PacketError as error:
            self._fail(error)
        except asyncio.CancelledError:
            self._session.posted()
            self._session.end("transport error")
            raise
        except Exception:
            LOG.exception("a message failed")
            self._session.posted()
            self._line.abort()
        else:
            self._succeed()

    def _succeed(self) -> None:
        self._session.posted()
        self._reply(OK_LINES, b"ok")

    def _fail(self, error: PacketError) -> None:
        self._session.posted()
        self._session.count_violation("engine_packet", error)
        self._session.end("parse error")
        self._refuse()
