"""HTTP long-polling over aiohttp: GET requests take packets, POST requests bring them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress

from aiohttp import hdrs, web

from gateway.engineio.carrier import CLOSE_LIMIT, COMPRESS_FROM
from gateway.engineio.packet import Packet, PacketError, decode_payload, encode_payload
from gateway.engineio.refusal import Refusal, refuse, too_large
from gateway.engineio.session import Session
from gateway.engineio.settings import Settings

__all__ = ["OK", "PAYLOAD", "answer_poll", "answer_post"]

PAYLOAD: Mapping[str, str] = {
    hdrs.CONTENT_TYPE: "text/plain; charset=UTF-8",
    hdrs.CACHE_CONTROL: "no-store",
}
# Not text/plain, which some browsers offer to download.
OK: Mapping[str, str] = {hdrs.CONTENT_TYPE: "text/html", hdrs.CACHE_CONTROL: "no-store"}


LOOK_AFTER = 0.05
"""Seconds without anything new of a body."""


class TooLargeError(Exception):
    """A body is over the limit."""


class WaitingPoll:
    """A GET request that waits for packets, then is written."""

    __slots__ = ("_limit", "_ready", "_waiter")

    def __init__(self, limit: asyncio.Timeout) -> None:
        self._limit = limit
        self._ready = False
        self._waiter: asyncio.Future[None] | None = None

    async def woken(self) -> None:
        """Wait until the session has an answer."""
        if not self._ready:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def wake(self) -> None:
        self._ready = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def hurry(self) -> None:
        self._limit.reschedule(asyncio.get_running_loop().time() + CLOSE_LIMIT)


class ReadPost:
    """A POST request whose body is being read."""

    __slots__ = ("_limit",)

    def __init__(self, limit: asyncio.Timeout) -> None:
        self._limit: asyncio.Timeout | None = limit

    def read(self) -> None:
        """The body is there."""
        self._limit = None

    def hurry(self) -> None:
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time())


async def answer_poll(
    session: Session, request: web.Request, headers: Mapping[str, str]
) -> web.Response:
    """Answer a GET request, once there is something to say.

    A client that goes away meanwhile ends the session: what it was to be told is lost.
    """
    response: web.Response | None = None
    try:
        async with asyncio.timeout(None) as limit:
            poll = WaitingPoll(limit)
            session.poll(poll)
            try:
                await poll.woken()
                packets = session.take(poll)
                if packets is not None:
                    response = _payload(packets, headers, session.settings)
                    await response.prepare(request)
                    await response.write_eof()
                    session.answered(poll)
            finally:
                session.lost(poll, "transport error")
    except (ConnectionError, TimeoutError):
        _cut(request)
    return refuse(Refusal.BAD_REQUEST, headers) if response is None else response


async def answer_post(
    session: Session, request: web.Request, headers: Mapping[str, str]
) -> web.Response:
    """Take the packets out of the body of a POST request, in order."""
    try:
        async with asyncio.timeout(None) as limit:
            post = ReadPost(limit)
            if not session.post(post):
                return refuse(Refusal.BAD_REQUEST, headers)
            try:
                await _receive(session, await _read(request, post, session.settings.max_payload))
            finally:
                session.posted()
    except TooLargeError:
        session.count_violation("too_large", "a body over the limit")
        return too_large(headers)
    except PacketError as error:
        session.count_violation("engine_packet", error)
        session.end("parse error")
        return refuse(Refusal.BAD_REQUEST, headers)
    except web.RequestPayloadError as error:
        session.count_violation("http", type(error).__name__)
        session.end("transport error")
        _cut(request)
        return refuse(Refusal.BAD_REQUEST, headers)
    except asyncio.CancelledError:
        session.end("transport error")
        raise
    except TimeoutError:
        _cut(request)
        return refuse(Refusal.UNKNOWN_SESSION, headers)
    return web.Response(body=b"ok", headers={**headers, **OK})


async def _receive(session: Session, body: bytes) -> None:
    for packet in decode_payload(body):
        waiting = session.receive(packet)
        if waiting is not None:
            await waiting


async def _read(request: web.Request, post: ReadPost, limit: int) -> bytes:
    """Read all of a body, in however many segments it comes."""
    if (request.content_length or 0) > limit:
        raise TooLargeError
    body = bytearray()
    while data := await _part(request):
        body += data
        if len(body) > limit:
            raise TooLargeError
    post.read()
    return bytes(body)


async def _part(request: web.Request) -> bytes:
    """The next part of a body, empty at its end. Raises `web.RequestPayloadError`.

    aiohttp does not tell who reads a body that no more of it can be understood: the refusal of that
    stands in the line of requests, behind the one that is still being read.
    """
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_AFTER):
                return await request.content.readany()
        if request.protocol._messages:
            raise web.RequestPayloadError("a body that cannot be read")


def _payload(
    packets: Iterable[Packet], headers: Mapping[str, str], settings: Settings
) -> web.Response:
    body = encode_payload(packets)
    response = web.Response(body=body, headers={**headers, **PAYLOAD})
    if settings.compression and len(body) >= COMPRESS_FROM:
        response.enable_compression()
    return response


def _cut(request: web.Request) -> None:
    """Drop a connection that takes no answer, or whose body has no end.

    aiohttp would wait for both, and log what it finds in the rest of a body that it cannot read.
    """
    if request.transport is not None:
        request.transport.abort()
    request.protocol.force_close()
