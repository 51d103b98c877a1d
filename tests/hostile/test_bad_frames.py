"""Every bad frame closes its WebSocket with the code that says why, and harms nobody."""

from __future__ import annotations

import pytest

from tests.hostile.bad_frames import FRAMES, BadFrame
from tests.hostile.byte_connection import Line, connected, frame
from tests.hostile.conftest import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def joined(gateway: Gateway, line: Line) -> None:
    """Join `/` on a WebSocket."""
    await line.handshake("websocket")
    await line.send(frame(b"40"))
    answer = await line.frame()
    assert answer is not None
    assert answer[1].startswith(b'40{"sid":')
    await gateway.tell()
    gateway.news()


@pytest.mark.parametrize("bad", FRAMES, ids=lambda bad: bad.name.replace(" ", "-"))
async def test_a_bad_frame(attacked: Gateway, bad: BadFrame) -> None:
    async with connected(attacked.port) as line:
        await joined(attacked, line)
        await line.send(bad.sent)
        assert await line.close_code() == bad.code
        await line.closed()
        assert await attacked.ended() == "transport error"
    assert attacked.news() == {bad.kind: 1}
    await attacked.is_unharmed()


@pytest.mark.parametrize("size", [1, 3, 7, 40])
async def test_half_a_frame_and_no_more(attacked: Gateway, size: int) -> None:
    async with connected(attacked.port) as line:
        await joined(attacked, line)
        await line.send(frame(b'42["a","0123456789012345678901234567890123456789"]')[:size])
        line.end()
        assert await attacked.ended() == "transport close"
        await line.closed()
    assert attacked.news() == {}
    await attacked.is_unharmed()


async def test_a_connection_that_is_reset(attacked: Gateway) -> None:
    async with connected(attacked.port) as line:
        await joined(attacked, line)
    assert await attacked.ended() == "transport close"
    assert attacked.news() == {}
    await attacked.is_unharmed()


async def test_nothing_behind_a_bad_frame_is_heard(attacked: Gateway) -> None:
    async with connected(attacked.port) as line:
        await joined(attacked, line)
        await line.send(frame(b"", 15) + frame(b'42["a","behind"]'))
        assert await line.close_code() == 1002
        assert await attacked.ended() == "transport error"
    await attacked.is_unharmed()
