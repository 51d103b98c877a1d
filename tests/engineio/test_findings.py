"""What python-engineio does wrong, by the number of the finding, and this engine does not.

Elsewhere in this folder: broken proxies (F3) in `test_proxies.py`, invalid packets (F6) in
`test_protocol_messages.py`, what stays behind (F9) in `test_leaks.py`, origins (F14) in
`test_cors.py`. What is wrong above the engine is in `tests/socketio`: reserved events (F4) in
`test_traps.py`, what nobody could read (F5, F13) in `test_unsendable.py`, invalid packets and
attachments (F6, F7) in `test_protocol_violations.py`, chains that raise (F8) in `test_leaks.py`,
sessions in no namespace (F12) in `test_join_timeout.py`, MessagePack (F16) in `test_msgpack.py`.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.deadline import deadline
from tests.engineio.conftest import LONG
from tests.engineio.echo import say
from tests.engineio.echo_server import WEBSOCKET, Server, Wire, connected


@pytest.fixture
def pings() -> dict[str, float]:
    return LONG


def segments(body: bytes, number: int) -> list[bytes]:
    size = -(-len(body) // number)
    return [body[at : at + size] for at in range(0, len(body), size)]


async def post_in_segments(wire: Wire, body: bytes, number: int) -> bytes:
    """POST by hand, the segments far enough apart for each to arrive alone; what is answered."""
    head = f"Content-Length: {len(body)}\nConnection: close\n"
    async with wire.raw("POST", head) as (reader, writer):
        for segment in segments(body, number):
            await writer.drain()
            await asyncio.sleep(0.01)
            writer.write(segment)
        return await reader.read()


@pytest.mark.parametrize("number", [2, 20])
@pytest.mark.parametrize("body", [b"4a message of 21 bytes", b"4" + "€".encode() * 100_000])
async def test_f1_body_in_segments_is_read_whole(
    server: Server, wire: Wire, body: bytes, number: int
) -> None:
    await wire.open()
    answer = await post_in_segments(wire, body, number)
    assert answer.endswith(b"\r\n\r\nok")
    assert server.received == [body[1:].decode()]


@pytest.mark.parametrize("chunked", [False, True])
async def test_f1_large_binary_arrives_as_it_was(server: Server, wire: Wire, chunked: bool) -> None:
    data = bytes(range(256)) * 2800  # over 700,000 bytes
    body = b"b" + base64.b64encode(data)

    async def pieces() -> AsyncIterator[bytes]:
        for piece in segments(body, 30):
            yield piece

    await wire.open()
    assert (await wire.post(pieces() if chunked else body)).body == "ok"
    assert server.received == [data]
    (packet,) = await wire.receive()
    assert base64.b64decode(packet[1:]) == data


async def test_f2_any_number_of_packets_comes_in_one_body(server: Server, wire: Wire) -> None:
    await wire.open()
    number = 1_000_000 // 3
    assert (await wire.post(b"\x1e".join([b"4x"] * number))).body == "ok"
    assert len(server.received) == number


async def test_f3_websocket_without_a_probe_leaves_polling_alone(
    server: Server, wire: Wire
) -> None:
    await wire.open()
    async with wire.stream(), wire.waiting_poll(server) as poll:
        await wire.post("4hello")
        assert (await poll).packets == ["4hello"]


@pytest.mark.parametrize("head", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
async def test_f9_body_that_never_comes_is_not_waited_for_once_the_session_is_over(
    server: Server, wire: Wire, head: str
) -> None:
    await wire.open()
    async with wire.raw("POST", f"{head}\n") as (reader, _):
        await server.posted()
        server.session(wire.sid).end("ping timeout")
        assert await reader.read() == b""


async def test_body_that_cannot_be_read_ends_the_session_and_its_connection(
    server: Server, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    await wire.open()
    head = "Content-Encoding: gzip\nContent-Length: 9\n"
    async with wire.raw("POST", head) as (reader, writer):
        writer.write(b"4not gzip")
        assert await server.reason(wire.sid) == "transport error"
        assert await reader.read() == b""
    assert "ERROR" not in {record.levelname for record in caplog.records}


async def test_f10_poll_that_went_away_takes_nothing_with_it(server: Server, wire: Wire) -> None:
    """The session is closed, so the client knows; it does not go on with packets missing."""
    await wire.open()
    session = server.session(wire.sid)
    async with wire.waiting_poll(server):
        pass
    assert await server.reason(wire.sid) == "transport error"
    say(session, "into the void")
    assert session.buffered == 0


@pytest.mark.parametrize(
    ("interval", "timeout", "told"),
    [(0.3, 0.2, (300, 200)), (1.5, 1.25, (1500, 1250)), (25, 20, (25000, 20000))],
)
async def test_f11_ping_times_are_told_to_the_millisecond(
    http: aiohttp.ClientSession, interval: float, timeout: float, told: tuple[int, int]
) -> None:
    async with Server(ping_interval=interval, ping_timeout=timeout) as server:
        wire = Wire(server.port, http)
        answer = await wire.poll()
    facts = json.loads(answer.body[1:])
    assert (facts["pingInterval"], facts["pingTimeout"]) == told
    assert f'"pingInterval":{told[0]},"pingTimeout":{told[1]},' in answer.body


class TestF15:
    """The engine ends with its server, at once and in order."""

    async def test_polls_are_ended(self, server: Server, wire: Wire) -> None:
        await wire.open()
        say(server.session(wire.sid), "last")
        assert await wire.receive() == ["4last"]
        async with wire.waiting_poll(server) as poll:
            await server.engine.shutdown()
            assert (await poll).packets == ["1"]
        assert await server.reason(wire.sid) == "server shutting down"

    async def test_websockets_are_closed(self, server: Server, wire: Wire) -> None:
        async with wire.streaming() as stream:
            stopping = asyncio.create_task(server.stop())
            assert await stream.receive() is None
            assert stream.close_code == 1000
            assert await server.reason(stream.sid) == "server shutting down"
            async with deadline():
                await stopping

    async def test_websocket_that_does_not_answer_is_not_waited_for(
        self, server: Server, wire: Wire
    ) -> None:
        async with connected(server.port, WEBSOCKET) as (reader, _):
            await reader.readuntil(b"}")
            await server.engine.shutdown()
            assert (await reader.read()).endswith(b"\x88\x02\x03\xe8")

    async def test_nobody_is_let_in_any_more(self, server: Server, wire: Wire) -> None:
        await server.engine.shutdown()
        assert (await wire.poll()).status == 503
        with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
            async with wire.streaming():
                pass
        assert server.engine.sessions == {}
