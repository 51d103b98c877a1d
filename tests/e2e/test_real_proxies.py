"""Stock clients over TLS, through nginx and HAProxy as `docs/proxies.md` configures them.

Clients reach a proxy at 127.0.0.1, and it reaches the gateway at ::1: so the two have addresses of
their own.
"""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import TLS
from tests.js_client import JsClient, JsDriver
from tests.programs.apt import install
from tests.programs.proxies import DOCUMENT, RECIPES, haproxy, nginx
from tests.reload.edited_daemon import Running, running

CONFIG = """
reload: {watch: "off"}
server: {host: "::1", trusted_proxies: ["::1"]}
namespaces:
  /:
    connection_middleware: [plugin.tell]
    routes: {echo: plugin.echo}
"""

PLUGIN = """
async def tell(ctx, next):
    handshake = ctx.socket.handshake
    await ctx.socket.emit("seen", handshake.address, handshake.secure)
    await next()

async def echo(ctx):
    return tuple(ctx.args)
"""

WITH_HEADER = CONFIG.replace("server: {", "server: {proxy_protocol: true, ")
WITH_TLS = WITH_HEADER.replace(
    "server: {", f"server: {{tls: {{cert: {TLS}/one.pem, key: {TLS}/one.key}}, "
)

Proxy = Callable[[Path, int], AbstractAsyncContextManager[int]]
PROXIES = pytest.mark.parametrize("proxy", [nginx, haproxy], ids=["nginx", "haproxy"])
TRANSPORTS = pytest.mark.parametrize(
    "transports", [["polling"], ["websocket"], ["polling", "websocket"]], ids="-".join
)


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    install()


@asynccontextmanager
async def behind(
    folder: Path, proxy: Proxy, config: str = CONFIG
) -> AsyncIterator[tuple[Running, str]]:
    """A daemon, and the URL of the proxy before it."""
    async with (
        running(folder, config, plugin=PLUGIN) as one,
        proxy(folder, int(one.url.rpartition(":")[2])) as port,
    ):
        yield one, f"https://127.0.0.1:{port}"


async def client(
    js: JsDriver, url: str, transports: list[str], origin: str | None = None, **headers: str
) -> JsClient:
    """A client on a page of this origin, by default one that the proxy serves."""
    return await js.client(
        url,
        transports=transports,
        ca=(TLS / "one.pem").read_text(),
        reconnection=False,
        extraHeaders={"Origin": origin or url, **headers},
    )


async def check_service(one: JsClient, transports: list[str]) -> None:
    """Check that a client ends on the last of its transports, and is served before and then."""
    assert await one.call("echo", 1, b"\0\1") == [1, b"\0\1"]
    if len(transports) == 2:
        assert await one.receive("upgrade") == [{"transport": "websocket"}]
    else:
        assert [one.transport] == transports
    large = "x" * 900_000
    assert await one.call("echo", large) == [large]


@PROXIES
@TRANSPORTS
async def test_the_page_of_the_host_is_served(
    tmp_path: Path, js: JsDriver, proxy: Proxy, transports: list[str]
) -> None:
    async with behind(tmp_path, proxy) as (_, url):
        one = await client(js, url, transports)
        assert await one.receive("seen") == ["127.0.0.1", True]
        await check_service(one, transports)
        await one.close()


@PROXIES
async def test_a_page_of_another_host_is_refused(
    tmp_path: Path, js: JsDriver, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "sockgw")
    async with behind(tmp_path, proxy) as (_, url):
        for transport in ("polling", "websocket"):
            one = await client(js, url, [transport], "https://evil.example")
            [error] = await one.receive("connect_error")
            assert "403" in f"{error}"
            await one.close()
    named = "refused origin 'https://evil.example' of 127.0.0.1: add it to server.cors_origins"
    assert named in caplog.messages


@PROXIES
async def test_a_client_cannot_forge_its_address_or_its_scheme(
    tmp_path: Path, js: JsDriver, proxy: Proxy
) -> None:
    forged = {
        "X-Forwarded-For": "198.51.100.1",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "forged.example",
        "Forwarded": "for=198.51.100.2;proto=http;host=forged.example",
    }
    async with behind(tmp_path, proxy) as (_, url):
        for transports in (["polling"], ["websocket"]):
            one = await client(js, url, transports, **forged)
            assert await one.receive("seen") == ["127.0.0.1", True]
            await one.close()


@PROXIES
async def test_clients_of_one_address_share_its_limit(
    tmp_path: Path, js: JsDriver, proxy: Proxy
) -> None:
    config = f"{CONFIG}limits: {{sockets_per_address: 1}}\n"
    async with behind(tmp_path, proxy, config) as (gateway, url):
        first = await client(js, url, ["websocket"])
        assert await first.receive("seen") == ["127.0.0.1", True]
        second = await client(js, url, ["polling"])
        [error] = await second.receive("connect_error")
        assert "503" in f"{error}"
        direct = await js.connect(gateway.url, transports=["websocket"])
        assert await direct.receive("seen") == ["::1", False]
        for each in (first, second, direct):
            await each.close()


@TRANSPORTS
@pytest.mark.parametrize(("mode", "config"), [("tcp", WITH_TLS), ("tcp-tls", WITH_HEADER)])
async def test_a_proxy_that_passes_on_tcp_announces_the_client(
    tmp_path: Path, js: JsDriver, transports: list[str], mode: Any, config: str
) -> None:
    async with behind(tmp_path, partial(haproxy, mode=mode), config) as (_, url):
        one = await client(js, url, transports)
        assert await one.receive("seen") == ["127.0.0.1", True]
        await check_service(one, transports)
        await one.close()


def test_the_recipes_of_traefik_are_toml() -> None:
    blocks = DOCUMENT.read_text().split("```toml\n")[1:]
    assert len(blocks) == 2
    for block in blocks:
        tomllib.loads(block.partition("```")[0])


def test_every_recipe_of_nginx_and_haproxy_is_run_here() -> None:
    assert [language for language, _ in RECIPES] == ["nginx", "haproxy", "haproxy"]
