"""The heartbeat tests of both official suites, by their own titles, at short pings."""

from __future__ import annotations

import pytest

from tests.engineio.conftest import HASTY, SHORT

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def pings(request: pytest.FixtureRequest) -> dict[str, float]:
    return getattr(request, "param", SHORT)


hasty = pytest.mark.parametrize("pings", [HASTY], indirect=True, ids=["hasty"], scope="module")


class TestHeartbeat:
    async def test_polling_should_send_ping_pong_packets(self, either):
        await either.open()
        for _ in range(3):
            assert (await either.poll()).packets == ["2"]
            assert (await either.post("3")).status == 200

    @hasty
    async def test_polling_should_close_the_session_upon_ping_timeout(self, either):
        await either.open()
        await either.gone()
        assert (await either.poll()).status == 400

    async def test_websocket_should_send_ping_pong_packets(self, either):
        async with either.streaming() as stream:
            for _ in range(3):
                assert await stream.frame() == "2"
                await stream.send("3")

    @hasty
    async def test_websocket_should_close_the_session_upon_ping_timeout(self, either):
        async with either.streaming() as stream:
            assert await stream.frame() == "2"
            assert await stream.frame() is None


class TestDisconnect:
    async def test_should_disconnect_from_the_main_namespace(self, gateway):
        async with gateway.connected() as stream:
            await stream.send("41")
            assert await stream.frame() == "2"
