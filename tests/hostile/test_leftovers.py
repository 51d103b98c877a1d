"""Who is gone leaves no cycle behind: a full garbage collection is rare, and would be a stall."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest

from gateway.engineio.session import Session
from gateway.engineio.websocket import WebSocketCarrier
from gateway.socketio.server import Client
from tests.deadline import deadline
from tests.hostile.byte_connection import connected, frame
from tests.hostile.conftest import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive() -> int:
    """How many of the objects there are that a session is made of."""
    return sum(isinstance(each, Session | Client | WebSocketCarrier) for each in gc.get_objects())


@pytest.mark.parametrize("last", [None, (b"9", 1), (b"4x", 1), (b"", 15)])
async def test_a_session_that_is_over_is_freed(
    attacked: Gateway, uncollected: None, last: tuple[bytes, int] | None
) -> None:
    before = alive()
    for _ in range(5):
        async with connected(attacked.port) as line:
            await line.handshake("websocket")
            await line.send(frame(b"40"))
            await line.frame()
            assert alive() > before
            if last is not None:
                await line.send(frame(*last))
                await line.close_code()
    async with deadline():
        while alive() > before:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
