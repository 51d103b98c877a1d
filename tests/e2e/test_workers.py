"""Stock clients of two workers behind proxies that go round: nobody needs a sticky session."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.certificates import TLS
from tests.daemon.gateway_of_workers import GatewayOfWorkers, run_workers, until_true
from tests.gateway_files import write
from tests.js_client import JsClient, JsDriver
from tests.ports import free_port
from tests.programs.apt import install
from tests.programs.proxies import haproxy, nginx

CONFIG = """
server: {{host: "::1", port: {port}, workers: 2, trusted_proxies: ["::1"]}}
admin: {{port: {admin}}}
reload: {{watch: "off"}}
limits: {{overload_after: unlimited}}  # the machine may be busy
namespaces: {{/: {{routes: {{enter: room.enter, tell: room.tell, count: room.count}}}}}}
"""

PLUGIN = """
async def enter(ctx):
    await ctx.socket.join("room")
    return ctx.gateway.member.number

async def tell(ctx, number: int):
    await ctx.namespace.to("room").emit("told", number)

async def count(ctx):
    return await ctx.namespace.to("room").count()
"""

TRANSPORTS = (["polling"], ["websocket"], ["polling", "websocket"])

Proxy = Callable[[Path, int], AbstractAsyncContextManager[int]]
PROXIES = pytest.mark.parametrize("proxy", [nginx, haproxy], ids=["nginx", "haproxy"])


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    install()


@asynccontextmanager
async def behind(folder: Path, proxy: Proxy) -> AsyncIterator[tuple[GatewayOfWorkers, str]]:
    """Two workers, and the URL of the proxy before them."""
    port = free_port()
    file = write(folder, CONFIG.format(port=port, admin=free_port()), room=PLUGIN)
    async with run_workers(file) as gateway, proxy(folder, port) as outside:
        yield gateway, f"https://127.0.0.1:{outside}"


async def connected(js: JsDriver, url: str, transports: list[str]) -> JsClient:
    one = await js.client(
        url,
        transports=transports,
        ca=(TLS / "one.pem").read_text(),
        reconnection=False,
        extraHeaders={"Origin": url},
    )
    await one.receive("connect")
    return one


async def forwarded(gateway: GatewayOfWorkers) -> float:
    """How many requests went from one worker to the other."""
    found = re.findall(r"^sockgw_forwarded_total\{.*\} (\S+)$", await gateway.metrics(), re.M)
    return sum(map(float, found))


async def check_room(js: JsDriver, gateway: GatewayOfWorkers, url: str) -> None:
    """Check that clients of both workers share a room, and that none of them is refused."""
    clients = [await connected(js, url, each) for each in TRANSPORTS * 4]
    workers = [await one.call("enter") for one in clients]

    async def are_both_in_use() -> bool:
        one = await connected(js, url, ["polling"])
        clients.append(one)
        workers.append(await one.call("enter"))
        return len({each for [each] in workers}) == 2 and await forwarded(gateway) > 0

    await until_true(are_both_in_use)
    for one in clients[2:12:3]:
        assert await one.receive("upgrade") == [{"transport": "websocket"}]
    assert await clients[0].call("count") == [len(clients)]
    for number in range(20):
        await clients[number % len(clients)].emit("tell", number)
    for one in clients:
        told = [await one.receive("told") for _ in range(20)]
        # two clients' packets are not ordered, those of one are
        assert sorted(told) == [[number] for number in range(20)]
    assert await clients[0].call("count") == [len(clients)]
    for one in clients:
        events = [report.event for report in one.log]
        assert events.count("told") == 20, "nothing came twice"
        assert not {"connect_error", "disconnect", "engine_close"} & set(events)
    metrics = await gateway.metrics()
    assert "sockgw_bus_missed_total 0.0" in metrics
    assert not re.search(r"^sockgw_violations_total\{.*\} [1-9]", metrics, re.M)


@PROXIES
async def test_a_room_of_both_workers_gets_every_event_once(
    js: JsDriver, tmp_path: Path, proxy: Proxy
) -> None:
    async with behind(tmp_path, proxy) as (gateway, url):
        await check_room(js, gateway, url)


async def test_a_room_of_both_workers_gets_every_event_once_without_a_proxy(
    js: JsDriver, tmp_path: Path
) -> None:
    # each request of this client has a connection of its own, so either worker may get it
    config = CONFIG.format(port=free_port(), admin=free_port()).replace("::1", "127.0.0.1")
    async with run_workers(write(tmp_path, config, room=PLUGIN)) as gateway:
        await check_room(js, gateway, gateway.url)


@PROXIES
async def test_the_clients_of_a_worker_that_ends_are_the_only_ones_to_notice(
    js: JsDriver, tmp_path: Path, proxy: Proxy
) -> None:
    async with behind(tmp_path, proxy) as (gateway, url):
        found: dict[int, JsClient] = {}

        async def has_both() -> bool:
            one = await connected(js, url, ["polling", "websocket"])
            assert await one.receive("upgrade") == [{"transport": "websocket"}]
            found[(await one.call("enter"))[0]] = one
            return len(found) == 2

        await until_true(has_both)
        lost, kept = found[1], found[2]
        pid = (await gateway.workers())[0]["pid"]
        os.kill(pid, signal.SIGKILL)
        await lost.receive("disconnect")
        assert await kept.call("enter") == [2]
        await gateway.all_serve(pid)
        again = await asyncio.gather(*(connected(js, url, each) for each in TRANSPORTS))
        assert [await one.call("enter") for one in again]
