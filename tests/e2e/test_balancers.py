"""Stock clients of two machines behind nginx and HAProxy, as `docs/scaling.md` configures them."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.certificates import TLS
from tests.daemon.gateway_of_workers import GatewayOfWorkers, run_workers, until_true
from tests.gateway_files import write
from tests.js_client import JsClient, JsDriver
from tests.ports import free_port
from tests.programs.apt import install
from tests.programs.balancers import BALANCERS, RECIPES
from tests.programs.redis import Redis, redis

CONFIG = """
server: {{port: {port}, trusted_proxies: [127.0.0.1], cors_origins: "*"}}
admin: {{port: {admin}, token: 0123456789abcdef}}
cluster: {{name: shop, redis: {{url: "{url}"}}{listen}}}
reload: {{watch: "off"}}
limits: {{overload_after: unlimited}}  # the machine may be busy
namespaces: {{/: {{routes: {{enter: room.enter, tell: room.tell}}}}}}
"""
LISTEN = ", listen: {secret: 0123456789abcdef0123456789abcdef}"

PLUGIN = """
async def enter(ctx):
    await ctx.socket.join("room")
    return ctx.gateway.member.tag

async def tell(ctx, number: int):
    await ctx.namespace.to("room").emit("told", number)
"""

TRANSPORTS = (["polling"], ["websocket"], ["polling", "websocket"])
EITHER = pytest.mark.parametrize("balancer", BALANCERS)


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    install()


@asynccontextmanager
async def nodes(folder: Path, running: Redis, listen: str) -> AsyncIterator[list[GatewayOfWorkers]]:
    """Two gateways that know each other."""
    async with AsyncExitStack() as stack:
        gateways = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            ports = {"port": free_port(), "admin": free_port()}
            config = CONFIG.format(url=running.url, listen=listen, **ports)
            file = write(folder / name, config, room=PLUGIN)
            gateways.append(await stack.enter_async_context(run_workers(file)))
        for gateway in gateways:

            async def knows_the_other(gateway: GatewayOfWorkers = gateway) -> bool:
                status = json.loads(await told(gateway, "/-/status"))["cluster"]
                linked = not listen or status["links"]["up"] == 1
                return status["members"] == 1 and linked

            await until_true(knows_the_other)
        yield gateways


async def told(gateway: GatewayOfWorkers, path: str) -> str:
    """What the admin listener answers."""
    headers = {"Authorization": "Bearer 0123456789abcdef"}
    async with aiohttp.ClientSession(gateway.admin, headers=headers) as http, http.get(path) as it:
        return await it.text()


def ports(gateway: GatewayOfWorkers) -> tuple[int, int]:
    """The port for clients, and that of the admin listener."""
    outside, inside = (int(url.rpartition(":")[2]) for url in (gateway.url, gateway.admin))
    return outside, inside


async def connected(js: JsDriver, url: str, transports: list[str]) -> JsClient:
    ca = (TLS / "one.pem").read_text()
    one = await js.client(url, transports=transports, ca=ca, reconnection=False)
    await one.receive("connect")
    return one


async def forwarded(gateways: list[GatewayOfWorkers]) -> float:
    """How many requests went from one machine to the other."""
    found = [
        re.findall(r"^sockgw_link_forwarded_total\{.*\} (\S+)$", await told(each, "/metrics"), re.M)
        for each in gateways
    ]
    return sum(float(value) for values in found for value in values)


async def check_room(clients: list[JsClient]) -> None:
    """Check that all share a room, get each event once, and lose no connection."""
    for one in clients[2:6:3]:
        assert await one.receive("upgrade") == [{"transport": "websocket"}]
    for number in range(12):
        await clients[number % len(clients)].emit("tell", number)
    for one in clients:
        told = [await one.receive("told") for _ in range(12)]
        assert sorted(told) == [[number] for number in range(12)]
        events = [report.event for report in one.log]
        assert not {"connect_error", "disconnect", "engine_close"} & set(events)


@EITHER
async def test_without_stickiness_each_request_may_reach_either_machine(
    js: JsDriver, tmp_path: Path, balancer: str
) -> None:
    async with redis() as running, nodes(tmp_path, running, LISTEN) as gateways:
        places = [ports(each) for each in gateways]
        async with BALANCERS[balancer](tmp_path, places, is_sticky=False) as port:
            url = f"https://127.0.0.1:{port}"
            clients = [await connected(js, url, each) for each in TRANSPORTS * 2]
            members = [await one.call("enter") for one in clients]
            assert len({member for [member] in members}) == 2
            await check_room(clients)
        assert await forwarded(gateways) > 0


@EITHER
async def test_with_stickiness_no_links_are_needed(
    js: JsDriver, tmp_path: Path, balancer: str
) -> None:
    async with redis() as running, nodes(tmp_path, running, "") as gateways:
        places = [ports(each) for each in gateways]
        async with BALANCERS[balancer](tmp_path, places, is_sticky=True) as port:
            url = f"https://127.0.0.1:{port}"
            clients = [await connected(js, url, each) for each in TRANSPORTS * 2]
            [[own], *others] = [await one.call("enter") for one in clients]
            assert others == [[own]] * 5  # one address, one machine
            clients += [await connected(js, each.url, ["websocket"]) for each in gateways]
            assert len({(await one.call("enter"))[0] for one in clients[-2:]}) == 2
            await check_room(clients)


def test_every_recipe_of_the_document_is_run_here() -> None:
    assert [language for language, _ in RECIPES] == ["nginx", "haproxy"]
