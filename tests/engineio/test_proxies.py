"""Behind a proxy that breaks WebSockets a client stays on polling, and is served."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.engineio.conftest import LONG
from tests.engineio.echo_server import Server, Wire
from tests.engineio.proxy import Fault, Proxy


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server(**LONG, upgrade_timeout=1.0) as server:
        yield server


@pytest.mark.parametrize("fault", Fault)
async def test_session_stays_on_polling(
    server: Server, http: aiohttp.ClientSession, fault: Fault
) -> None:
    async with Proxy(server.port, fault) as proxy:
        wire = await Wire(proxy.port, http).open()
        async with wire.stream() as stream:
            if fault is not Fault.CUT:
                await stream.send("2probe")
            await wire.post("4hello")
            assert await wire.receive() == ["4hello"]
            assert await stream.frame() is None
        assert server.session(wire.sid).transport == "polling"
        await wire.post("4hello")
        assert await wire.receive() == ["4hello"]
