"""Engine.IO v4: the heartbeat, over a real connection.

https://github.com/socketio/socket.io/blob/main/docs/engine.io-protocol/v4-current.md#heartbeat
How exact it is in time is told in `test_session.py`, where the clock is set by hand.
"""

from __future__ import annotations

import pytest

from gateway.engineio.settings import Settings
from tests.engineio.conftest import HASTY, LONG, SHORT
from tests.engineio.echo import UNLIMITED
from tests.engineio.echo_server import UNKNOWN_SESSION, Server, Wire


@pytest.fixture
def pings() -> dict[str, float]:
    return SHORT


hasty = pytest.mark.parametrize("pings", [HASTY], ids=["hasty"])


async def test_polling_is_sent_pings_as_long_as_it_answers(server: Server, wire: Wire) -> None:
    await wire.open()
    for _ in range(3):
        assert (await wire.poll()).packets == ["2"]
        assert (await wire.post("3")).body == "ok"
    assert server.reasons == {}


async def test_websocket_is_sent_pings_as_long_as_it_answers(server: Server, wire: Wire) -> None:
    async with wire.streaming() as stream:
        for _ in range(3):
            assert await stream.frame() == "2"
            await stream.send("3")
        assert server.reasons == {}


async def test_upgraded_session_is_sent_pings_on_its_websocket(wire: Wire) -> None:
    await wire.open()
    async with wire.stream() as stream:
        await stream.upgrade()
        for _ in range(2):
            assert await stream.frame() == "2"
            await stream.send("3")


@hasty
async def test_polling_without_a_pong_is_closed(server: Server, wire: Wire) -> None:
    await wire.open()
    assert await server.reason(wire.sid) == "ping timeout"
    assert (await wire.poll()).body == UNKNOWN_SESSION
    assert (await wire.post("3")).body == UNKNOWN_SESSION


async def test_poll_that_waits_is_ended_by_the_timeout(server: Server, wire: Wire) -> None:
    await wire.open()
    async with wire.waiting_poll(server) as poll:
        pass_time(server, SHORT["ping_interval"])
        assert (await poll).packets == ["2"]
    async with wire.waiting_poll(server) as poll:
        pass_time(server, SHORT["ping_timeout"])
        assert (await poll).packets == ["1"]
    assert await server.reason(wire.sid) == "ping timeout"


@hasty
async def test_websocket_without_a_pong_is_closed(server: Server, wire: Wire) -> None:
    async with wire.streaming() as stream:
        assert await stream.frame() == "2"
        assert await stream.frame() is None
        assert stream.close_code == 1000
        assert await server.reason(stream.sid) == "ping timeout"


async def test_settings_may_change_under_open_sessions(server: Server, wire: Wire) -> None:
    """A session keeps to what it was told; the next one is told the new."""
    server.engine.configure(Settings(**LONG), UNLIMITED)
    async with wire.streaming() as slow:
        server.engine.configure(Settings(**SHORT), UNLIMITED)
        async with wire.streaming() as quick:
            for _ in range(2):
                assert await quick.frame() == "2"
                await quick.send("3")
        assert (slow.handshake["pingInterval"], quick.handshake["pingInterval"]) == (25000, 300)
        await slow.send("4hello")
        assert await slow.frame() == "4hello"


async def test_session_is_unknown_once_its_time_is_up_however_busy_the_server_is(
    server: Server, wire: Wire
) -> None:
    """A request does not find a session whose limit has passed while nobody looked."""
    await wire.open()
    pass_time(server, SHORT["ping_interval"])
    deadlines, clock = server.engine.deadlines, server.engine.deadlines.clock
    deadlines.clock = lambda: clock() + SHORT["ping_timeout"]
    assert (await wire.poll()).body == UNKNOWN_SESSION


def pass_time(server: Server, seconds: float) -> None:
    """Have that much time pass for the engine, and what is due happen."""
    deadlines, clock = server.engine.deadlines, server.engine.deadlines.clock
    deadlines.clock = lambda: clock() + seconds
    deadlines.expire()
