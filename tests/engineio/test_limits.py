"""How large, and to whom: `max_payload`, `transports`, back-pressure, compression."""

from __future__ import annotations

import asyncio
import base64
import json

import aiohttp
import pytest

from gateway.engineio.frames import Frames
from tests.engineio.conftest import HASTY, LONG
from tests.engineio.echo import say
from tests.engineio.echo_server import UNKNOWN_TRANSPORT, WEBSOCKET, Server, Stream, Wire, connected


@pytest.fixture
def pings() -> dict[str, float]:
    return LONG


class TestMaxPayload:
    async def test_polling_body_may_be_as_large(self, server: Server, wire: Wire) -> None:
        await wire.open()
        assert (await wire.post(b"4" + b"x" * 999_999)).body == "ok"
        assert server.received == ["x" * 999_999]

    async def test_polling_body_that_says_it_is_over_it_is_not_read(
        self, server: Server, wire: Wire
    ) -> None:
        await wire.open()
        async with wire.raw("POST", "Content-Length: 1000001\n") as (reader, _):
            assert (await reader.readline()).startswith(b"HTTP/1.1 413")

    @pytest.mark.parametrize("chunked", [False, True])
    async def test_polling_body_over_it_is_answered_413(
        self, server: Server, wire: Wire, chunked: bool
    ) -> None:
        """The session stays: it is the client that knows now that this was not received."""

        async def pieces() -> object:
            yield b"4" + b"x" * 500_000
            yield b"x" * 500_000

        await wire.open()
        answer = await wire.post(pieces() if chunked else b"4" + b"x" * 1_000_000)
        assert (answer.status, json.loads(answer.body)["code"]) == (413, "too_large")
        await wire.post("4hello")
        assert await wire.receive() == ["4hello"]
        assert server.received == ["hello"]

    async def test_polling_counts_bytes(self, server: Server, wire: Wire) -> None:
        await wire.open()
        assert (await wire.post("4" + "€" * 333_333)).body == "ok"
        assert (await wire.post("44" + "€" * 333_333)).status == 413

    @pytest.mark.parametrize("packet", ["4" + "x" * 999_999, b"x" * 1_000_000])
    async def test_websocket_message_may_be_as_large(self, wire: Wire, packet: str | bytes) -> None:
        async with wire.streaming() as stream:
            await stream.send(packet)
            assert await stream.receive() == packet

    @pytest.mark.parametrize("packet", ["4" + "x" * 1_000_000, b"x" * 1_000_001])
    async def test_websocket_message_over_it_closes_the_session(
        self, server: Server, wire: Wire, packet: str | bytes
    ) -> None:
        async with wire.streaming() as stream:
            await stream.send(packet)
            assert await stream.receive() is None
            assert stream.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
            assert await server.reason(stream.sid) == "transport error"
        assert server.received == []

    async def test_poll_may_be_answered_with_more(self, server: Server, wire: Wire) -> None:
        await wire.open()
        for _ in range(3):
            say(server.session(wire.sid), b"\x00" * 1_000_000)
        packets = (await wire.poll()).packets
        assert [base64.b64decode(packet[1:]) for packet in packets] == [b"\x00" * 1_000_000] * 3


class TestTransports:
    async def test_polling_alone_offers_no_upgrade(self, http: aiohttp.ClientSession) -> None:
        async with Server(transports=("polling",)) as server:
            wire = await Wire(server.port, http).open()
            assert wire.handshake["upgrades"] == []
            with pytest.raises(aiohttp.WSServerHandshakeError, match="400"):
                async with wire.stream():
                    pass

    async def test_websocket_alone_refuses_polling(self, http: aiohttp.ClientSession) -> None:
        async with Server(transports=("websocket",)) as server:
            wire = Wire(server.port, http)
            refusal = json.loads((await wire.poll()).body)
            assert refusal.pop("hint") == "this transport is not in server.transports"
            assert refusal == json.loads(UNKNOWN_TRANSPORT)
            async with wire.streaming() as stream:
                await stream.send("4hello")
                assert await stream.receive() == "4hello"


class TestBackPressure:
    async def test_client_that_does_not_read_is_not_read_from(
        self, server: Server, wire: Wire
    ) -> None:
        """Else its echoes would fill the server's memory. Nothing of it is lost."""
        data, number = b"x" * 100_000, 200
        async with wire.streaming() as stream:
            transport = stream.socket._conn.transport
            transport.pause_reading()
            sending = asyncio.create_task(stream.send(*[data] * number))
            session = server.session(stream.sid)
            await server.news.until(lambda: session.buffered > 0)
            for _ in range(1000):
                await asyncio.sleep(0)
            assert session.buffered < 10 * len(data)
            assert not sending.done()
            transport.resume_reading()
            assert [await stream.receive() for _ in range(number)] == [data] * number
            await sending

    async def test_connection_is_cut_once_the_session_of_a_client_that_does_not_read_is_over(
        self, http: aiohttp.ClientSession
    ) -> None:
        async with Server(**HASTY) as server:
            wire = Wire(server.port, http)
            async with wire.streaming() as stream:
                transport = stream.socket._conn.transport
                transport.pause_reading()
                say(server.session(stream.sid), b"x" * 5_000_000)
                assert await server.reason(stream.sid) == "ping timeout"
                await server.unconnected()
                transport.abort()

    async def test_connection_of_a_client_that_closes_but_does_not_read_is_cut(
        self, server: Server
    ) -> None:
        async with connected(server.port, WEBSOCKET) as (reader, writer):
            await reader.readuntil(b"}")
            (session,) = server.engine.sessions.values()
            say(session, b"x" * 5_000_000)
            writer.write(b"\x88\x80\x00\x00\x00\x00")
            assert await server.reason(session.id) == "transport close"
            await server.unconnected()

    async def test_poll_of_a_client_that_does_not_read_is_cut_once_its_session_is_over(
        self, http: aiohttp.ClientSession
    ) -> None:
        async with Server(**HASTY) as server:
            wire = await Wire(server.port, http).open()
            say(server.session(wire.sid), b"x" * 5_000_000)
            async with wire.raw("GET", ""):
                assert await server.reason(wire.sid) == "ping timeout"
                await http.close()
                await server.unconnected()

    async def test_sending_on_a_connection_that_is_closing_is_quiet(
        self, server: Server, wire: Wire, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with wire.streaming() as stream:
            session = server.session(stream.sid)
            session._websocket._transport.abort()
            for _ in range(20):
                say(session, "into the void")
            assert await server.reason(stream.sid) == "transport close"
        assert "WARNING" not in {record.levelname for record in caplog.records}

    async def test_what_is_sent_to_a_client_that_does_not_read_is_counted(
        self, server: Server, wire: Wire
    ) -> None:
        async with wire.streaming() as stream:
            transport = stream.socket._conn.transport
            transport.pause_reading()
            session = server.session(stream.sid)
            for _ in range(200):
                say(session, b"x" * 100_000)
            assert session.buffered > 10_000_000
            transport.abort()
            assert await server.reason(stream.sid) == "transport close"


class TestCompression:
    async def test_is_off(self, server: Server, http: aiohttp.ClientSession) -> None:
        wire = Wire(server.port, http)
        async with http.ws_connect(f"{wire.url}?EIO=4&transport=websocket", compress=15) as socket:
            assert not socket.compress
        await wire.open()
        await wire.post("4" + "x" * 5000)
        assert "Content-Encoding" not in (await wire.poll()).headers

    async def test_may_be_asked_for(self, http: aiohttp.ClientSession) -> None:
        async with Server(compression=True) as server:
            wire = Wire(server.port, http)
            url = f"{wire.url}?EIO=4&transport=websocket"
            async with http.ws_connect(url, compress=15) as socket:
                assert socket.compress == 15
                await self.exchange(Stream(socket), server)
            async with http.ws_connect(url) as socket:
                assert not socket.compress
                await self.exchange(Stream(socket), server)

    async def exchange(self, stream: Stream, server: Server) -> None:
        opening = await stream.frame()
        assert isinstance(opening, str)
        large = "4" + "text that repeats " * 500
        for packet in ("4small", large, b"binary " * 500, large):
            await stream.send(packet)
            assert await stream.receive() == packet
        server.session(json.loads(opening[1:])["sid"]).send_many(Frames([large[1:], b"x" * 2000]))
        assert await stream.receive() == large
        assert await stream.receive() == b"x" * 2000

    async def test_polls_are_compressed_too(self, http: aiohttp.ClientSession) -> None:
        async with Server(compression=True) as server:
            wire = await Wire(server.port, http).open()
            await wire.post("4small")
            assert "Content-Encoding" not in (await wire.poll()).headers
            await wire.post("4" + "x" * 5000)
            answer = await wire.poll()
            assert answer.headers["Content-Encoding"] in {"gzip", "deflate"}
            assert answer.packets == ["4" + "x" * 5000]
