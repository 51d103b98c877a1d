"""Engine.IO v4: messages and the close of a session, over a real connection.

https://github.com/socketio/socket.io/blob/main/docs/engine.io-protocol/v4-current.md#message
"""

from __future__ import annotations

import pytest

from gateway.engineio.packet import Packet
from tests.engineio.echo import say
from tests.engineio.echo_server import BAD_REQUEST, UNKNOWN_SESSION, Server, Wire

BYTES = bytes(range(256))
TEXT = 'plain, "quoted", \\ and € 🦄 '


class TestMessages:
    @pytest.mark.parametrize(
        "packets",
        [
            ["4hello"],
            ["4"],
            ["4" + TEXT],
            ["4test1", "4test2", "4test3"],
            ["4hello", "bAQIDBA==", "b", "4world"],
            [f"4{number}" for number in range(1000)],
        ],
        ids=["one", "empty", "unicode", "several", "with binary", "a thousand"],
    )
    async def test_polling_carries_payloads(self, wire: Wire, packets: list[str]) -> None:
        await wire.open()
        answer = await wire.post("\x1e".join(packets).encode())
        assert (answer.status, answer.body) == (200, "ok")
        assert await wire.receive(len(packets)) == packets

    @pytest.mark.parametrize(
        ("sent", "read"),
        [
            ("bAQID\n", "bAQID"),
            ("bAQ==\r\n", "bAQ=="),
            ("bAQ", "bAQ=="),
            ("bAQ\nID\nBA", "bAQIDBA=="),
        ],
    )
    async def test_base64_may_have_line_ends_and_no_padding(
        self, wire: Wire, sent: str, read: str
    ) -> None:
        """Java's `Base64.DEFAULT` ends each 76th character, and the whole, with a line end."""
        await wire.open()
        assert (await wire.post(f"4a\x1e{sent}\x1e4b")).body == "ok"
        assert await wire.receive(3) == ["4a", read, "4b"]

    async def test_polling_carries_at_most_16_packets_in_an_answer(self, wire: Wire) -> None:
        """More make clients of python-socketio close their session."""
        await wire.open()
        packets = [f"4{number}" for number in range(100)]
        await wire.post("\x1e".join(packets))
        got: list[Packet] = []
        while len(got) < len(packets):
            some = (await wire.poll()).packets
            assert len(some) <= 16
            got += some
        assert got == packets

    @pytest.mark.parametrize("kind", ["text/plain;charset=UTF-8", "application/octet-stream", ""])
    async def test_payload_is_text_whatever_it_is_called(self, wire: Wire, kind: str) -> None:
        await wire.open()
        headers = {"Content-Type": kind} if kind else {}
        assert (await wire.post(b"4hello\x1ebAQID", headers=headers)).body == "ok"
        assert await wire.receive(2) == ["4hello", "bAQID"]

    @pytest.mark.parametrize(
        "packet", ["4hello", "4", "4" + TEXT, "4a\x1eb", b"\x01\x02\x03\x04", b"", BYTES]
    )
    async def test_websocket_carries_packets_in_frames_of_their_own(
        self, wire: Wire, packet: Packet
    ) -> None:
        async with wire.streaming() as stream:
            await stream.send(packet)
            assert await stream.receive() == packet

    async def test_websocket_takes_bytes_as_base64(self, wire: Wire) -> None:
        """Clients with `forceBase64` send them so; those that say `b64` get them so too."""
        async with wire.streaming() as stream:
            await stream.send("bAQID")
            assert await stream.receive() == b"\x01\x02\x03"
        async with wire.streaming(b64="1") as stream:
            await stream.send("bAQID", b"\x04", "4text")
            assert [await stream.receive() for _ in range(3)] == ["bAQID", "bBA==", "4text"]

    async def test_websocket_keeps_the_order(self, wire: Wire) -> None:
        packets: list[Packet] = [f"4{n}" if n % 3 else bytes([n]) for n in range(100)]
        async with wire.streaming() as stream:
            await stream.send(*packets)
            assert [await stream.receive() for _ in packets] == packets

    @pytest.mark.parametrize(
        "body",
        [
            "abc",
            "",
            "0",
            "2",
            "2probe",
            "5",
            "6",
            "4a\x1e",
            "\x1e4a",
            "7",
            "b!",
            "bAQIDB",
            b"4\xff",
        ],
    )
    async def test_polling_invalid_packet_closes_the_session(
        self, server: Server, wire: Wire, body: str | bytes
    ) -> None:
        await wire.open()
        answer = await wire.post(body)
        assert (answer.status, answer.body) == (400, BAD_REQUEST)
        assert (await wire.poll()).body == UNKNOWN_SESSION
        assert await server.reason(wire.sid) == "parse error"

    async def test_polling_invalid_packet_ends_the_poll_that_waits(
        self, server: Server, wire: Wire
    ) -> None:
        await wire.open()
        async with wire.waiting_poll(server) as poll:
            await wire.post("abc")
            assert (await poll).packets == ["1"]

    async def test_packets_before_an_invalid_one_are_received(
        self, server: Server, wire: Wire
    ) -> None:
        await wire.open()
        assert (await wire.post("4a\x1eb!\x1e4c")).status == 400
        assert server.received == ["a"]

    @pytest.mark.parametrize("packet", ["abc", "", "0", "2", "2probe", "5", "6", "7", "b!"])
    async def test_websocket_invalid_packet_closes_the_session(
        self, server: Server, wire: Wire, packet: str
    ) -> None:
        async with wire.streaming() as stream:
            await stream.send(packet)
            assert await stream.receive() is None
            assert stream.close_code == 1000
            assert await server.reason(stream.sid) == "parse error"


class TestClose:
    async def test_polling_close_packet_ends_the_poll_with_noop(
        self, server: Server, wire: Wire
    ) -> None:
        await wire.open()
        async with wire.waiting_poll(server) as poll:
            assert (await wire.post("1")).body == "ok"
            assert (await poll).packets == ["6"]
        assert (await wire.poll()).body == UNKNOWN_SESSION
        assert await server.reason(wire.sid) == "client disconnect"

    async def test_nothing_after_a_close_packet_is_received(
        self, server: Server, wire: Wire
    ) -> None:
        await wire.open()
        assert (await wire.post("4a\x1e1\x1e4b")).body == "ok"
        assert server.received == ["a"]

    async def test_websocket_close_packet_closes_the_connection(
        self, server: Server, wire: Wire
    ) -> None:
        async with wire.streaming() as stream:
            await stream.send("1")
            assert await stream.receive() is None
            assert stream.close_code == 1000
            assert await server.reason(stream.sid) == "client disconnect"

    async def test_websocket_that_is_closed_closes_the_session(
        self, server: Server, wire: Wire
    ) -> None:
        async with wire.streaming() as stream:
            await stream.socket.close()
            assert await server.reason(stream.sid) == "transport close"

    async def test_server_closes_polling(self, server: Server, wire: Wire) -> None:
        await wire.open()
        async with wire.waiting_poll(server) as poll:
            server.session(wire.sid).close()
            assert (await poll).packets == ["1"]
        assert (await wire.poll()).body == UNKNOWN_SESSION
        assert await server.reason(wire.sid) == "server disconnect"

    async def test_poll_takes_what_was_sent_before_the_server_closed(
        self, server: Server, wire: Wire
    ) -> None:
        await wire.open()
        session = server.session(wire.sid)
        say(session, "last")
        session.close()
        assert (await wire.poll()).packets == ["4last", "1"]
        assert (await wire.poll()).body == UNKNOWN_SESSION

    async def test_server_closes_a_websocket_after_what_it_sent(
        self, server: Server, wire: Wire
    ) -> None:
        async with wire.streaming() as stream:
            session = server.session(stream.sid)
            say(session, "last")
            session.close()
            assert await stream.receive() == "4last"
            assert await stream.receive() is None
            assert stream.close_code == 1000
            assert await server.reason(stream.sid) == "server disconnect"
