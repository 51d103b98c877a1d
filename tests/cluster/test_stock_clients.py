"""Stock clients whose requests go round members, without sticky sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest
import socketio

from gateway.cluster.forward import Forwarding
from gateway.cluster.peer import Mesh
from gateway.compiler import load
from gateway.engineio.settings import Settings
from gateway.limits import Limits
from gateway.socketio.server import Server
from tests.cluster.meshes import join
from tests.cluster.round_robin import round_robin
from tests.deadline import deadline, until
from tests.engineio.echo import serving
from tests.gateway_files import write
from tests.js_client import JsDriver

CONFIG = "namespaces: {/: {routes: {say: say}}}"
SAY = """
async def say(ctx, *what):
    await ctx.socket.emit("said", *what)
    return what[0]
"""
TAGS = ["aaaaa", "bbbbb", "ccccc"]


class Gateway:
    """A whole Socket.IO server that is a member."""

    def __init__(self, tag: str) -> None:
        settings = replace(Settings(), cors_origins="*")
        self.server = Server(settings, Limits(overload_after=inf, connections_per_second=inf))
        self.http = self.server.engine.http_server("/socket.io/")
        self.mesh = Mesh(tag)
        self.forwarding = Forwarding(self.server.engine, self.http, self.mesh)
        self.port = 0


@asynccontextmanager
async def gateways(folder: Path) -> AsyncIterator[list[Gateway]]:
    """Members that serve the same gateway."""
    build = load(write(folder, CONFIG, say=SAY), {})
    made = [Gateway(tag) for tag in TAGS]
    async with AsyncExitStack() as stack:
        for each in made:
            each.port = await stack.enter_async_context(serving(each.http))
            each.server.live.swap(await each.server.start(build.blueprint))
        await join(*(each.mesh for each in made))
        try:
            yield made
        finally:
            for each in made:
                await each.server.engine.shutdown()
                await each.server.live.close(5.0)
                each.forwarding.close()
                each.mesh.close()
            await until(lambda: not any(each.mesh.peers for each in made))


@pytest.fixture
async def members(tmp_path: Path) -> AsyncIterator[list[Gateway]]:
    async with gateways(tmp_path) as made:
        yield made


@pytest.fixture
async def url(members: list[Gateway]) -> AsyncIterator[str]:
    async with round_robin(*(each.port for each in members)) as url:
        yield url


def counted(members: list[Gateway], what: str) -> int:
    return sum(each.forwarding.counts[what] for each in members)  # type: ignore[index]


def refusals(members: list[Gateway]) -> int:
    return sum(sum(each.server.engine.violations.counts.values()) for each in members)


TRANSPORTS = {
    "polling": ["polling"],
    "upgrade": ["polling", "websocket"],
    "websocket": ["websocket"],
}


@pytest.mark.parametrize("how", TRANSPORTS)
async def test_the_javascript_client(
    members: list[Gateway], url: str, js: JsDriver, how: str
) -> None:
    clients = [await js.connect(url, transports=TRANSPORTS[how]) for _ in range(6)]
    for client in clients:
        assert client.id[:5] in TAGS
        assert len(client.id) == 20
        if how == "upgrade":
            await client.receive("upgrade")
        for number in range(20):
            assert await client.call("say", number, b"\x00\xff") == [number]
            assert await client.receive("said") == [number, b"\x00\xff"]
    assert not any(report.event == "disconnect" for each in clients for report in each.log)
    assert refusals(members) == 0
    assert bool(counted(members, "answered")) == (how != "websocket")
    for client in clients:
        await client.close()
    await until(lambda: not any(each.server.engine.sessions for each in members))
    await until(lambda: not any(each.forwarding.waiting for each in members))


@pytest.mark.parametrize("how", TRANSPORTS)
async def test_the_python_client(members: list[Gateway], url: str, how: str) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(3):
            client = socketio.AsyncClient(reconnection=False)
            said: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
            client.on("said", lambda *what, said=said: said.put_nowait(what))
            await client.connect(url, transports=TRANSPORTS[how])
            stack.push_async_callback(client.disconnect)
            for number in range(20):
                async with deadline():
                    assert await client.call("say", (number, b"\x00\xff")) == number
                    assert await said.get() == (number, b"\x00\xff")
    assert refusals(members) == 0
