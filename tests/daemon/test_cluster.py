"""Daemons that are one cluster: over a Redis, as their files say."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
import uvloop

from gateway.cluster.redis import RedisBus
from gateway.cluster.redis_channels import Channels
from gateway.cluster.redis_connection import Server
from tests.daemon.gateway_of_workers import files, run_workers, until_true
from tests.daemon_in_loop import served
from tests.deadline import deadline, until
from tests.gateway_files import write
from tests.ports import free_port
from tests.programs.nats import Nats, nats
from tests.programs.redis import Redis, redis, replicated
from tests.raw_client import raw

CONFIG = """
cluster: {{name: shop, readyz: {readyz}, {engine}: {{url: "{url}"}}}}
admin: {{port: {port}}}
server: {{transports: [websocket]}}
namespaces:
  /:
    routes: {{say: plugin.say}}
"""

PLUGIN = """
async def say(ctx, text):
    delivery = await ctx.namespace.emit("said", text, confirm=True)
    return [len(delivery.recipients), await ctx.namespace.count()]
"""


ENGINES: dict[str, Callable[[], AbstractAsyncContextManager[Redis | Nats]]] = {
    "redis": redis,
    "nats": nats,
}


def gateway(folder: Path, server: Redis | Nats, port: int, readyz: str = "always") -> Path:
    folder.mkdir()
    engine, _, _ = server.url.partition(":")
    text = CONFIG.format(engine=engine, url=server.url, port=port, readyz=readyz)
    return write(folder, text, plugin=PLUGIN)


async def get(http: aiohttp.ClientSession, port: int, path: str) -> tuple[int, dict]:
    async with http.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, json.loads(await answer.text())


async def until_status(http: aiohttp.ClientSession, port: int, **expected: object) -> dict:
    """Wait until the status of the cluster says this."""
    async with deadline():
        while True:
            _, status = await get(http, port, "/-/status")
            if expected.items() <= status["cluster"].items():
                return status["cluster"]
            await asyncio.sleep(0.01)


async def metrics(http: aiohttp.ClientSession, port: int) -> set[str]:
    """The lines of the metrics."""
    async with http.get(f"http://127.0.0.1:{port}/metrics") as answer:
        return set((await answer.text()).splitlines())


async def status(port: int) -> str:
    """What `sockgw status` prints."""
    words = "status", "--admin", f"http://127.0.0.1:{port}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *words), stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    return printed.decode()


@pytest.mark.parametrize("engine", ENGINES)
async def test_clients_of_two_daemons_share_a_namespace(tmp_path: Path, engine: str) -> None:
    ports = free_port(), free_port()
    async with ENGINES[engine]() as running, AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        urls = [
            await stack.enter_async_context(served(gateway(tmp_path / str(port), running, port)))
            for port in ports
        ]
        for port in ports:
            await until_status(http, port, up=True, members=1, name="shop", fault="")
        ada, eve = [await stack.enter_async_context(raw(url)) for url in urls]
        await ada.join()
        await eve.join()
        await ada.send('420["say","hi"]')
        assert await eve.receive() == '42["said","hi"]'
        assert [await ada.receive(), await ada.receive()] == ['42["said","hi"]', "430[[2,2]]"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("readyz", "code"), [("always", 200), ("connected", 503)])
async def test_all_tell_that_the_engine_is_away(
    tmp_path: Path, readyz: str, code: int, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Status, command, metrics and, if that is wanted, readiness; the log once for each change."""
    caplog.set_level(logging.INFO, "sockgw.cluster")
    port = free_port()
    async with (
        ENGINES[engine]() as running,
        aiohttp.ClientSession() as http,
        served(gateway(tmp_path / "one", running, port, readyz)),
    ):
        await until_status(http, port, up=True)
        assert (await get(http, port, "/readyz"))[0] == 200
        await running.kill()
        await until_status(http, port, up=False, fault="connection refused")
        assert (await get(http, port, "/readyz"))[0] == code
        assert await metrics(http, port) >= {"sockgw_bus_up 0.0", "sockgw_bus_reconnects_total 1.0"}
        shown = await status(port)
        assert "shop, degraded since " in shown
        assert ": connection refused; 0 other members known" in shown
        await running.start()
        await until_status(http, port, up=True)
        assert (await get(http, port, "/readyz"))[0] == 200
        assert await metrics(http, port) >= {"sockgw_bus_up 1.0", "sockgw_bus_reconnects_total 1.0"}
        assert "degraded" not in await status(port)
    lines = [each.getMessage() for each in caplog.records if each.name == "sockgw.cluster"]
    words = [("connected" in each, "is away" in each) for each in lines]
    assert words == [(True, False), (False, True), (True, False)]


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "ordered"])
async def test_daemons_follow_a_failover(tmp_path: Path, is_killed: bool) -> None:
    """Their files say where the Sentinels are, and the password that these want."""
    secret = ["requirepass secret"] if is_killed else []
    async with replicated(tmp_path, settings=secret) as servers, AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        (_, sentinel), ports = servers.hosts[0], (free_port(), free_port())
        hosts = f"127.0.0.1:1, 127.0.0.1:{sentinel}"
        block = f"sentinel: {{master: main, hosts: [{hosts}], password: secret}}"
        urls = []
        for port in ports:
            folder = tmp_path / str(port)
            folder.mkdir()
            text = CONFIG.format(engine="redis", url="", port=port, readyz="always")
            file = write(folder, text.replace('url: ""', block), plugin=PLUGIN)
            urls.append(await stack.enter_async_context(served(file)))
        for port in ports:
            await until_status(http, port, up=True, members=1)
        ada, eve = [await stack.enter_async_context(raw(url)) for url in urls]
        await ada.join()
        await eve.join()
        if is_killed:
            await servers.master.kill()
        else:
            await servers.sentinels[0].says(b"+OK", "SENTINEL FAILOVER main")
        await servers.replica.says(b":3", "PUBSUB NUMPAT")  # one of each, and one of both
        for port in ports:
            await until_status(http, port, up=True, members=1)
        await ada.send('420["say","hi"]')
        assert await eve.receive() == '42["said","hi"]'


async def test_workers_are_members_too(tmp_path: Path) -> None:
    """Real processes: two workers and, on another port, a gateway of one process."""
    async with redis() as running, AsyncExitStack() as stack:
        block = f'cluster: {{name: shop, redis: {{url: "{running.url}"}}}}\n'
        for name, workers in (("two", 2), ("one", 1)):
            (tmp_path / name).mkdir()
            file = files(tmp_path / name, workers)
            file.write_text(file.read_text() + block)
            if workers == 2:
                gateway = await stack.enter_async_context(run_workers(file))
        one = await stack.enter_async_context(served(file))

        async def know_each_other() -> bool:
            cluster = (await gateway.status())["cluster"]
            return bool(cluster["up"]) and cluster["members"] == 2

        await until_true(know_each_other)
        metrics = await gateway.metrics()
        assert "sockgw_bus_up 2.0" in metrics
        assert "sockgw_bus_members 2.0" in metrics
        assert one


def test_uvloop_will_do() -> None:
    """Its transports are of no class of asyncio's."""

    async def connect() -> None:
        async with redis() as running:
            bus = RedisBus("tag-0", Server(port=running.port), Channels("test", "tag-0"))
            bus.start()
            await until(lambda: bus.is_up)
            await bus.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(connect())
