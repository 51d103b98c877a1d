"""Behind a proxy that breaks WebSockets a client stays on polling, and is served."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.engineio.conftest import LONG
from tests.engineio.proxy import Fault, Proxy
from tests.engineio.stock import StockServer, serving
from tests.engineio.wire import Server, Wire
from tests.js_client import JsDriver


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


async def test_official_client_loses_nothing_by_its_upgrade(js: JsDriver) -> None:
    """The server talks before, during and after it."""
    sio = StockServer(**LONG)
    said: Counter[str] = Counter()

    async def talk(sid: str) -> None:
        while True:
            await sio.emit("number", said[sid], to=sid)
            said[sid] += 1
            await asyncio.sleep(0.001)

    async def check(url: str) -> None:
        client = await js.connect(url)
        await client.receive("upgrade")
        assert await client.call("echo", "after") == ["after"]
        talking[client.id].cancel()
        numbers = [(await client.receive("number"))[0] for _ in range(said[client.id])]
        assert numbers == list(range(said[client.id]))

    @sio.event
    async def connect(sid: str, environ: object, auth: object) -> None:
        talking[sid] = asyncio.create_task(talk(sid))

    talking: dict[str, asyncio.Task[None]] = {}
    async with serving(sio) as url:
        await asyncio.gather(*(check(url) for _ in range(10)))
