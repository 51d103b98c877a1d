"""The official Engine.IO suite by its own titles, the heartbeat aside.

https://github.com/socketio/socket.io/blob/main/docs/engine.io-protocol/v4-test-suite
The Socket.IO suite begins with the same tests.
"""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")


class TestHandshakePolling:
    async def test_should_successfully_open_a_session(self, either, pings):
        await either.open()
        assert either.handshake == {
            "sid": either.sid,
            "upgrades": ["websocket"],
            "pingInterval": pings["ping_interval"] * 1000,
            "pingTimeout": pings["ping_timeout"] * 1000,
            "maxPayload": 1_000_000,
        }

    @pytest.mark.parametrize("version", [None, "abc"])
    async def test_should_fail_with_an_invalid_eio_query_parameter(self, either, version):
        assert (await either.poll(EIO=version)).status == 400

    @pytest.mark.parametrize("transport", [None, "abc"])
    async def test_should_fail_with_an_invalid_transport_query_parameter(self, either, transport):
        assert (await either.poll(transport=transport)).status == 400

    @pytest.mark.parametrize("method", ["POST", "PUT"])
    async def test_should_fail_with_an_invalid_request_method(self, either, method):
        assert (await either.request(method)).status == 400


class TestHandshakeWebSocket:
    async def test_should_successfully_open_a_session(self, either, pings):
        async with either.streaming() as stream:
            assert stream.handshake == {
                "sid": stream.sid,
                "upgrades": [],
                "pingInterval": pings["ping_interval"] * 1000,
                "pingTimeout": pings["ping_timeout"] * 1000,
                "maxPayload": 1_000_000,
            }

    @pytest.mark.parametrize("version", [None, "abc"])
    async def test_should_fail_with_an_invalid_eio_query_parameter(self, either, version):
        with pytest.raises(aiohttp.WSServerHandshakeError, match="400"):
            async with either.stream(EIO=version):
                pass

    @pytest.mark.parametrize("transport", [None, "abc"])
    async def test_should_fail_with_an_invalid_transport_query_parameter(self, either, transport):
        with pytest.raises(aiohttp.WSServerHandshakeError, match="400"):
            async with either.stream(transport=transport):
                pass


class TestClose:
    async def test_polling_should_forcefully_close_the_session(self, either):
        await either.open()
        poll = await either.waiting()
        await either.post("1")
        assert ((await poll).status, (await poll).body) == (200, "6")
        assert (await either.poll()).status == 400

    async def test_websocket_should_forcefully_close_the_session(self, either):
        async with either.streaming() as stream:
            await stream.send("1")
            assert await stream.frame() is None


class TestUpgrade:
    async def test_should_successfully_upgrade_from_http_long_polling_to_websocket(self, either):
        await either.open()
        async with either.stream() as stream:
            await stream.send("2probe")
            assert await stream.frame() == "3probe"
            assert (await either.poll()).body == "6"
            await stream.send("5", *(["4hello"] if "engine" in either.url else ["40"]))
            assert str(await stream.receive())[:3] in ("4he", "40{")

    async def test_should_ignore_http_requests_with_same_sid_after_upgrade(self, either):
        await either.open()
        async with either.stream() as stream:
            await stream.send("2probe", "5")
            assert (await either.poll()).status == 400

    async def test_should_ignore_websocket_connection_with_same_sid_after_upgrade(self, either):
        await either.open()
        async with either.stream() as stream:
            await stream.send("2probe", "5")
            async with either.stream() as other:
                assert await other.frame() is None


class TestEngineMessagePolling:
    @pytest.mark.parametrize(
        "body",
        [
            pytest.param("4hello", id="one plain text packet"),
            pytest.param("4test1\x1e4test2\x1e4test3", id="several plain text packets"),
            pytest.param("4hello\x1ebAQIDBA==", id="plain text and binary packets"),
        ],
    )
    async def test_sends_and_receives_a_payload_containing(self, engine, body):
        await engine.open()
        answer = await engine.post(body)
        assert (answer.status, answer.body) == (200, "ok")
        answer = await engine.poll()
        assert (answer.status, answer.body) == (200, body)

    async def test_closes_the_session_upon_invalid_packet_format(self, engine):
        await engine.open()
        assert (await engine.post("abc")).status == 400
        assert (await engine.poll()).status == 400

    async def test_closes_the_session_upon_duplicate_poll_requests(self, engine):
        await engine.open()
        first = await engine.waiting()
        second = await engine.poll(t="burst")
        assert ((await first).status, (await first).body) == (200, "1")
        assert second.status == 400
        assert (await engine.poll()).status == 400

    async def test_closes_the_session_upon_cancelled_polling_request(self, engine):
        await engine.open()
        poll = await engine.waiting()
        poll.cancel()
        await asyncio.wait([poll])
        assert (await engine.poll()).status == 400


class TestEngineMessageWebSocket:
    @pytest.mark.parametrize(
        "packet",
        [
            pytest.param("4hello", id="a plain text packet"),
            pytest.param(b"\1\2\3\4", id="a binary packet"),
        ],
    )
    async def test_sends_and_receives(self, engine, packet):
        async with engine.streaming() as stream:
            await stream.send(packet)
            assert await stream.receive() == packet

    async def test_closes_the_session_upon_invalid_packet_format(self, engine):
        async with engine.streaming() as stream:
            await stream.send("abc")
            assert await stream.receive() is None
