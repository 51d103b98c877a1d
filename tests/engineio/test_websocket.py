"""A WebSocket that answers in the call that read: what waits, what ends it, what it leaves."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable

import pytest

from gateway.engineio.packet import Message
from gateway.engineio.session import Session
from tests.engineio.conftest import LONG
from tests.engineio.echo_server import WEBSOCKET, Server, Wire, connected
from tests.hostile.byte_connection import CLOSE, PING, frame

POLL = "GET /engine.io/?EIO=4&transport=polling HTTP/1.1\nhost: a\n\n"


@pytest.fixture
def pings() -> dict[str, float]:
    return LONG


class Waits:
    """Messages that are waited for until `go_on` is set; `log` has what became of them."""

    def __init__(self, server: Server) -> None:
        self.log: list[str] = []
        self.go_on = asyncio.Event()
        self.news = server.news
        server.hooks.message = self.take

    def take(self, session: Session, message: Message) -> Awaitable[None]:
        self.note(f"{message!s} begins")
        return self.wait(session, message)

    async def wait(self, session: Session, message: Message) -> None:
        try:
            if message == "fail":
                raise ValueError(message)
            if message == "close":
                session.close()
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.note(f"{message!s} is cancelled")
            raise
        self.note(f"{message!s} ends")

    def note(self, line: str) -> None:
        self.log.append(line)
        self.news.tell()

    async def noted(self, line: str) -> None:
        await self.news.until(lambda: line in self.log)


async def test_messages_wait_for_one_another(server: Server, wire: Wire) -> None:
    waits = Waits(server)
    async with wire.streaming() as stream:
        await stream.send("4a", "4b")
        await waits.noted("a begins")
        await stream.send("4c")
        waits.go_on.set()
        await waits.noted("c ends")
    assert waits.log == [f"{name} {step}" for name in "abc" for step in ("begins", "ends")]


async def test_a_close_waits_for_the_messages_before_it(server: Server, wire: Wire) -> None:
    waits = Waits(server)
    async with connected(server.port, WEBSOCKET) as (reader, writer):
        await reader.readuntil(b"}")
        writer.write(frame(b"4a") + frame(b"\x03\xe8", CLOSE))
        await waits.noted("a begins")
        waits.go_on.set()
        assert await reader.read() == b"\x88\x02\x03\xe8"
    assert waits.log == ["a begins", "a ends"]


async def test_a_client_that_goes_away_cuts_short_what_its_message_waits_for(
    server: Server, wire: Wire
) -> None:
    waits = Waits(server)
    async with wire.streaming() as stream:
        await stream.send("4a")
        await waits.noted("a begins")
        stream.socket._conn.transport.abort()
        await waits.noted("a is cancelled")
        assert await server.reason(stream.sid) == "transport close"


async def test_a_message_that_ends_its_session_is_not_cut_short(server: Server, wire: Wire) -> None:
    waits = Waits(server)
    async with wire.streaming() as stream:
        await stream.send("4close")
        assert await stream.frame() is None
        stream.socket._conn and stream.socket._conn.close()
        await server.unconnected()
        waits.go_on.set()
        await waits.noted("close ends")


async def test_a_message_that_fails_ends_the_connection(
    server: Server, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    Waits(server)
    async with wire.streaming() as stream:
        await stream.send("4fail")
        assert await server.reason(stream.sid) == "transport close"
    assert "a message failed" in caplog.messages


async def test_a_ping_is_answered_in_its_turn(server: Server) -> None:
    async with connected(server.port, WEBSOCKET) as (reader, writer):
        await reader.readuntil(b"}")
        writer.write(frame(b"4a") + frame(b"ping", PING) + frame(b"4b"))
        assert await reader.readexactly(14) == b"\x81\x024a\x8a\x04ping\x81\x024b"


async def test_no_ping_is_answered_behind_our_close(server: Server) -> None:
    async with connected(server.port, WEBSOCKET) as (reader, writer):
        await reader.readuntil(b"}")
        (session,) = server.engine.sessions.values()
        session.close()
        writer.write(frame(b"ping", PING) + frame(b"\x03\xe8", CLOSE))
        assert await reader.read() == b"\x88\x02\x03\xe8"


async def test_the_connection_of_a_client_that_does_not_answer_our_close_is_cut(
    server: Server,
) -> None:
    async with connected(server.port, WEBSOCKET) as (reader, _):
        await reader.readuntil(b"}")
        (session,) = server.engine.sessions.values()
        session.close()
        assert await reader.read() == b"\x88\x02\x03\xe8"
    await server.unconnected()


async def test_the_open_packet_comes_with_the_head(server: Server) -> None:
    async with connected(server.port, WEBSOCKET) as (reader, _):
        data = await reader.read(2**16)
    assert re.search(rb'\r\n\r\n\x81.0\{"sid":', data)


async def test_what_on_connect_raises_ends_the_connection_and_leaves_nothing(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(session: Session) -> None:
        raise ValueError("on_connect")

    server.hooks.connect = fail
    async with connected(server.port, WEBSOCKET) as (reader, _):
        assert not (await reader.read()).startswith(b"HTTP/1.1 101")
    assert server.engine.sessions == {}
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@pytest.mark.parametrize("some", ["", "G", "GET /engine.io/?EIO=4 HTTP/1.1\n"])
async def test_a_connection_on_which_no_whole_request_comes_is_closed(some: str) -> None:
    async with (
        Server(request_timeout=0.1) as server,
        connected(server.port, some) as (reader, _),
    ):
        assert await reader.read() == b""
        assert server.engine.limits_met.counts["request_timeout"] == 1


async def test_a_connection_that_is_kept_may_be_silent_for_longer() -> None:
    async with (
        Server(request_timeout=0.05, keepalive_timeout=0.2) as server,
        connected(server.port, POLL) as (reader, _),
    ):
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        assert server.engine.limits_met.counts["request_timeout"] == 0


async def test_a_websocket_may_be_silent_for_longer_than_a_connection() -> None:
    async with (
        Server(keepalive_timeout=0.05) as server,
        connected(server.port, WEBSOCKET) as (reader, writer),
    ):
        await reader.readuntil(b"}")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.read(1)
        writer.write(frame(b"4a"))
        assert await reader.readexactly(4) == b"\x81\x024a"
