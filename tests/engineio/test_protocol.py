"""Engine.IO v4: every sentence of the protocol that binds a server, over a real connection.

https://github.com/socketio/socket.io/blob/main/docs/engine.io-protocol/v4-current.md
Each holds at short pings and at long ones, so that none holds only because a ping limit fell.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.engineio.echo_server import (
    BAD_METHOD,
    BAD_REQUEST,
    OLD,
    UNKNOWN_SESSION,
    UNKNOWN_TRANSPORT,
    UNSUPPORTED,
    Server,
    Wire,
)

WEBSOCKET_HEADERS = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


class TestHandshake:
    async def test_polling_is_answered_with_an_open_packet(
        self, wire: Wire, pings: dict[str, float]
    ) -> None:
        answer = await wire.poll()
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/plain; charset=UTF-8"
        assert answer.headers["Cache-Control"] == "no-store"
        await wire.open()
        assert wire.handshake == {
            "sid": wire.sid,
            "upgrades": ["websocket"],
            "pingInterval": pings["ping_interval"] * 1000,
            "pingTimeout": pings["ping_timeout"] * 1000,
            "maxPayload": 1_000_000,
        }
        assert list(wire.handshake) == [
            "sid",
            "upgrades",
            "pingInterval",
            "pingTimeout",
            "maxPayload",
        ]

    async def test_websocket_is_answered_with_an_open_packet(
        self, wire: Wire, pings: dict[str, float]
    ) -> None:
        async with wire.streaming() as stream:
            assert stream.handshake == {
                "sid": stream.sid,
                "upgrades": [],
                "pingInterval": pings["ping_interval"] * 1000,
                "pingTimeout": pings["ping_timeout"] * 1000,
                "maxPayload": 1_000_000,
            }

    async def test_no_two_sessions_have_the_same_id(self, wire: Wire) -> None:
        sids = set()
        for _ in range(20):
            wire.sid = ""
            sids.add((await wire.open()).sid)
        assert len(sids) == 20

    @pytest.mark.parametrize(
        ("how", "body"),
        [
            ({"transport": None}, UNKNOWN_TRANSPORT),
            ({"transport": "abc"}, UNKNOWN_TRANSPORT),
            ({"transport": "webtransport"}, UNKNOWN_TRANSPORT),
            ({"EIO": None}, UNSUPPORTED),
            ({"EIO": "3"}, UNSUPPORTED),
            ({"EIO": "abc"}, UNSUPPORTED),
            ({"sid": "abc"}, UNKNOWN_SESSION),
            ({"transport": "websocket"}, BAD_REQUEST),
            ({"transport": "abc", "EIO": "3", "sid": "abc"}, UNKNOWN_TRANSPORT),
        ],
    )
    async def test_polling_without_a_mandatory_parameter_is_answered_400(
        self, wire: Wire, how: dict[str, Any], body: str
    ) -> None:
        answer = await wire.poll(**how)
        assert (answer.status, answer.body) == (400, body)
        assert answer.headers["Content-Type"] == "application/json"

    @pytest.mark.parametrize(
        ("how", "body"),
        [
            ({"transport": None}, UNKNOWN_TRANSPORT),
            ({"transport": "abc"}, UNKNOWN_TRANSPORT),
            ({"EIO": None}, UNSUPPORTED),
            ({"EIO": "3"}, UNSUPPORTED),
            ({"EIO": "abc"}, UNSUPPORTED),
            ({"sid": "abc"}, UNKNOWN_SESSION),
        ],
    )
    async def test_websocket_without_a_mandatory_parameter_is_answered_400(
        self, wire: Wire, how: dict[str, Any], body: str
    ) -> None:
        answer = await wire.poll(**{"transport": "websocket"} | how, headers=WEBSOCKET_HEADERS)
        assert (answer.status, answer.body) == (400, body)
        with pytest.raises(aiohttp.WSServerHandshakeError, match="400"):
            async with wire.stream(**how):
                pass

    async def test_old_clients_are_told_once_a_second(
        self, server: Server, wire: Wire, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", "sockgw")
        server.engine.refused._clock = lambda: 0.0
        for _ in range(3):
            await wire.poll(EIO="3")
        assert caplog.messages == [f"refused protocol version '3' of 127.0.0.1: {OLD}"]
        assert server.engine.violations.counts["unsupported_version"] == 3

    async def test_client_that_is_gone_before_its_websocket_opens_leaves_nothing(
        self, server: Server, wire: Wire, caplog: pytest.LogCaptureFixture
    ) -> None:
        server.hooks.connect = lambda session: server.abort()
        with pytest.raises(aiohttp.ClientError):
            async with wire.stream():
                pass
        await server.news.until(lambda: bool(server.reasons))
        assert set(server.reasons.values()) == {"transport close"}
        assert server.engine.sessions == {}
        assert "ERROR" not in {record.levelname for record in caplog.records}

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
    async def test_handshake_is_a_get_request(self, wire: Wire, method: str) -> None:
        answer = await wire.request(method, "4hello")
        assert (answer.status, answer.body) == (400, BAD_METHOD)

    async def test_head_is_no_get(self, server: Server, wire: Wire) -> None:
        assert (await wire.request("HEAD")).status == 400
        assert server.engine.sessions == {}


class TestRequests:
    """Those that come with a session's id."""

    @pytest.mark.parametrize("method", ["GET", "POST"])
    @pytest.mark.parametrize(
        ("how", "body"),
        [
            ({"sid": "abc"}, UNKNOWN_SESSION),
            ({"transport": None}, UNKNOWN_TRANSPORT),
            ({"transport": "abc"}, UNKNOWN_TRANSPORT),
            ({"transport": "websocket"}, BAD_REQUEST),
            ({"EIO": None}, BAD_REQUEST),
            ({"EIO": "3"}, BAD_REQUEST),
        ],
    )
    async def test_wrong_parameter_is_answered_400_and_harms_nobody(
        self, wire: Wire, method: str, how: dict[str, Any], body: str
    ) -> None:
        await wire.open()
        answer = await wire.request(method, "4lost" if method == "POST" else None, **how)
        assert (answer.status, answer.body) == (400, body)
        await wire.post("4hello")
        assert await wire.receive() == ["4hello"]

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD"])
    async def test_other_methods_are_answered_400_and_harm_nobody(
        self, wire: Wire, method: str
    ) -> None:
        await wire.open()
        assert (await wire.request(method)).status == 400
        await wire.post("4hello")
        assert await wire.receive() == ["4hello"]

    async def test_post_is_answered_ok(self, wire: Wire) -> None:
        await wire.open()
        answer = await wire.post("4hello")
        assert (answer.status, answer.body) == (200, "ok")
        assert answer.headers["Content-Type"] == "text/html"
        assert answer.headers["Cache-Control"] == "no-store"

    async def test_poll_waits_for_packets(self, server: Server, wire: Wire) -> None:
        await wire.open()
        async with wire.waiting_poll(server) as poll:
            await wire.post("4hello")
            answer = await poll
        assert answer.packets == ["4hello"]
        assert answer.headers["Content-Type"] == "text/plain; charset=UTF-8"
        assert answer.headers["Cache-Control"] == "no-store"

    async def test_second_poll_is_answered_400_and_closes_the_session(
        self, server: Server, wire: Wire
    ) -> None:
        await wire.open()
        async with wire.waiting_poll(server) as first:
            second = await wire.poll()
            assert (second.status, second.body) == (400, BAD_REQUEST)
            assert (await first).packets == ["1"]
        assert (await wire.poll()).body == UNKNOWN_SESSION
        assert await server.reason(wire.sid) == "transport error"

    async def test_second_post_is_answered_400_and_closes_the_session(
        self, server: Server, wire: Wire
    ) -> None:
        await wire.open()
        first_half = asyncio.Event()

        async def slow() -> Any:
            yield b"4hello"
            first_half.set()
            await asyncio.Event().wait()

        first = asyncio.create_task(wire.post(slow()))
        await first_half.wait()
        await server.posted()
        second = await wire.post("4hello")
        assert (second.status, second.body) == (400, BAD_REQUEST)
        assert (await wire.poll()).body == UNKNOWN_SESSION
        assert await server.reason(wire.sid) == "transport error"
        assert server.received == []
        first.cancel()
        await asyncio.wait([first])

    async def test_poll_that_is_cancelled_closes_the_session(
        self, server: Server, wire: Wire
    ) -> None:
        await wire.open()
        async with wire.waiting_poll(server):
            pass
        assert await server.reason(wire.sid) == "transport error"
        assert (await wire.poll()).body == UNKNOWN_SESSION
