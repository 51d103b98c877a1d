"""A connection that aiohttp has read a request on becomes a WebSocket; aiohttp lets go of it."""

from __future__ import annotations

import asyncio
import gc
import inspect

import pytest
from aiohttp import web

from tests.engineio.conftest import LONG
from tests.engineio.wire import LIMIT, WEBSOCKET, Server, connected


def test_aiohttp_keeps_what_it_is_asked_for_where_it_did() -> None:
    """If this fails after an update, compare it with `detach`."""
    source = inspect.getsource(web.RequestHandler)
    for promise in (
        "self._message_tail += data",
        "self._pause_reading_for_buffer()",
        "self.transport = None",
        "self._manager.connection_lost(self, exc)",
        "self._keepalive_handle.cancel()",
        "self._task_handler.cancel()",
    ):
        assert promise in source


@pytest.mark.parametrize("cancellation", [True, False])
async def test_aiohttp_lets_go_of_the_connection_and_logs_nothing(
    cancellation: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with Server(web.AppRunner, **LONG) as server:
        manager = server._runner.server
        assert manager is not None
        manager.handler_cancellation = cancellation
        before = handlers()
        async with connected(server.port, WEBSOCKET) as (reader, writer):
            assert (await reader.readline()).startswith(b"HTTP/1.1 101")
            await reader.readuntil(b"}")
            async with asyncio.timeout(LIMIT):
                while handlers() > before:  # noqa: ASYNC110  nobody tells
                    await asyncio.sleep(0)
            assert not manager.connections
            writer.write(b"\x81\x86\x00\x00\x00\x004hello")
            assert await reader.readexactly(8) == b"\x81\x064hello"
    assert not caplog.records


def handlers() -> int:
    gc.collect()
    return sum(isinstance(each, web.RequestHandler) for each in gc.get_objects())


async def test_a_connection_that_is_gone_meanwhile_is_left_alone() -> None:
    async with Server(web.AppRunner, **LONG) as server:
        server.hooks.connect = lambda session: server.abort()
        async with connected(server.port, WEBSOCKET) as (reader, _):
            assert await reader.read() == b""
        await server.unconnected()
        assert list(server.reasons.values()) == ["transport close"]
