"""Daemons that are linked: no request is refused because it reached the wrong machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import socketio

from tests.cluster.round_robin import round_robin
from tests.daemon.gateway_of_workers import GatewayOfWorkers, run_workers, until_true
from tests.deadline import deadline
from tests.gateway_files import write
from tests.js_client import JsDriver
from tests.ports import free_port
from tests.programs.redis import Redis, redis

SECRET = "a secret of the tests"
CONFIG = """
cluster: {{name: shop, redis: {{url: "{url}"}}, listen: {{{listen}}}}}
admin: {{port: {admin}}}
server: {{port: {port}, cors_origins: "*", stop_timeout: 5s, workers: {workers}}}
limits: {{connections_per_second: unlimited, overload_after: unlimited}}
namespaces:
  /: {{routes: {{say: plugin.say}}}}
"""
PLUGIN = """
async def say(ctx, *what):
    await ctx.socket.emit("said", *what)
    return what[0]
"""
TRANSPORTS = {"polling": ["polling"], "upgrade": ["polling", "websocket"]}


def file(folder: Path, redis: Redis, listen: str = f"secret: {SECRET}", workers: int = 1) -> Path:
    folder.mkdir()
    config = CONFIG.format(
        url=redis.url, listen=listen, admin=free_port(), port=free_port(), workers=workers
    )
    return write(folder, config, plugin=PLUGIN)


async def until_linked(*gateways: GatewayOfWorkers, up: int, down: int = 0) -> None:
    """Wait until each has so many links."""

    async def linked() -> bool:
        found = [(await each.status())["cluster"]["links"] for each in gateways]
        return all((each["up"], each["down"]) == (up, down) for each in found)

    await until_true(linked)


@asynccontextmanager
async def linked(
    folder: Path, redis: Redis, *workers: int
) -> AsyncIterator[list[GatewayOfWorkers]]:
    """Gateways with so many workers each, all of which have found each other."""
    async with AsyncExitStack() as stack:
        gateways = [
            await stack.enter_async_context(
                run_workers(file(folder / f"node{number}", redis, workers=count))
            )
            for number, count in enumerate(workers)
        ]
        for gateway, count in zip(gateways, workers, strict=True):
            await until_linked(gateway, up=count * (sum(workers) - count))
        yield gateways


def port(gateway: GatewayOfWorkers) -> int:
    return int(gateway.url.rpartition(":")[2])


async def figure(gateway: GatewayOfWorkers, name: str) -> float:
    """The sum of a metric."""
    lines = (await gateway.metrics()).splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


@pytest.mark.parametrize("how", TRANSPORTS)
@pytest.mark.parametrize("workers", [(1, 1), (2, 1)], ids=str)
async def test_the_javascript_client(
    tmp_path: Path, js: JsDriver, how: str, workers: tuple[int, int]
) -> None:
    """Nothing is lost, nothing comes twice, nothing is refused."""
    async with redis() as running, linked(tmp_path, running, *workers) as gateways:
        ports = [*map(port, gateways)]
        async with round_robin(*ports, ports[0]) as url:  # a client has an even number of requests
            clients = [await js.connect(url, transports=TRANSPORTS[how]) for _ in range(4)]
            for client in clients:
                if how == "upgrade":
                    await client.receive("upgrade")
                for number in range(20):
                    assert await client.call("say", number, b"\x00\xff") == [number]
                    assert await client.receive("said") == [number, b"\x00\xff"]
            assert not any(report.event == "disconnect" for each in clients for report in each.log)
            for gateway in gateways:
                assert await figure(gateway, "sockgw_violations_total") == 0
                assert await figure(gateway, 'sockgw_link_forwarded_total{result="no_link"}') == 0
            result = "answered" if how == "polling" else "relayed"
            name = f'sockgw_link_forwarded_total{{result="{result}"}}'
            assert sum([await figure(each, name) for each in gateways]) > 0
            for client in clients:
                await client.close()


async def test_the_python_client(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(redis())
        gateways = await stack.enter_async_context(linked(tmp_path, running, 1, 1))
        url = await stack.enter_async_context(round_robin(*map(port, gateways)))
        for how in TRANSPORTS.values():
            client = socketio.AsyncClient(reconnection=False)
            said: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
            client.on("said", lambda *what, said=said: said.put_nowait(what))
            await client.connect(url, transports=how)
            stack.push_async_callback(client.disconnect)
            for number in range(20):
                async with deadline():
                    assert await client.call("say", (number, b"\x00\xff")) == number
                    assert await said.get() == (number, b"\x00\xff")
        for gateway in gateways:
            assert await figure(gateway, "sockgw_violations_total") == 0
