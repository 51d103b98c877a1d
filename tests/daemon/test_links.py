"""Daemons that are linked: no request is refused because it reached the wrong machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import socketio

from gateway.cluster.link_greeting import NONCE
from tests.authority import Authority, Files
from tests.cluster.round_robin import round_robin
from tests.daemon.gateway_of_workers import GatewayOfWorkers, edit, run_workers, until_true
from tests.deadline import deadline
from tests.gateway_files import write
from tests.js_client import JsDriver
from tests.ports import free_port
from tests.programs.nats import Nats, nats
from tests.programs.redis import Redis, redis

SECRET = "a secret of the tests"
CONFIG = """
cluster: {{name: shop, {engine}: {{url: "{url}"}}, listen: {{{listen}}}}}
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


def file(
    folder: Path, server: Redis | Nats, listen: str = f"secret: {SECRET}", workers: int = 1
) -> Path:
    folder.mkdir()
    ports = {"admin": free_port(), "port": free_port()}
    engine, _, _ = server.url.partition(":")
    config = CONFIG.format(engine=engine, url=server.url, listen=listen, workers=workers, **ports)
    return write(folder, config, plugin=PLUGIN)


async def until_linked(*gateways: GatewayOfWorkers, up: int, down: int = 0) -> None:
    """Wait until each has so many links."""

    async def linked() -> bool:
        found = [(await each.status())["cluster"]["links"] for each in gateways]
        return all((each["up"], each["down"]) == (up, down) for each in found)

    await until_true(linked)


@asynccontextmanager
async def linked(
    folder: Path, server: Redis | Nats, *workers: int, listen: str = f"secret: {SECRET}"
) -> AsyncIterator[list[GatewayOfWorkers]]:
    """Gateways with so many workers each, all of which have found each other."""
    async with AsyncExitStack() as stack:
        gateways = [
            await stack.enter_async_context(
                run_workers(file(folder / f"node{number}", server, listen, count))
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


async def go_round(gateways: list[GatewayOfWorkers], js: JsDriver, how: str) -> None:
    """Have clients whose requests reach the gateways by turns; nothing may be lost or refused."""
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


def listen_tls(files: Files, authority: Authority | None = None) -> str:
    """What `cluster.listen` says of TLS, with another authority if one is given."""
    ca = authority.file if authority else files.ca
    return f'tls: {{cert: "{files.cert}", key: "{files.key}", ca: "{ca}"}}'


async def answered(port: int) -> bytes:
    """What a port of links answers to a greeting without TLS."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"sockgw link 1\n\x01" + bytes(42))
    found = b""
    with suppress(ConnectionResetError):
        async with deadline():
            found = await reader.read()
    writer.close()
    return found


@pytest.mark.parametrize("how", TRANSPORTS)
@pytest.mark.parametrize("workers", [(1, 1), (2, 1)], ids=str)
async def test_the_javascript_client(
    tmp_path: Path, js: JsDriver, how: str, workers: tuple[int, int]
) -> None:
    """Nothing is lost, nothing comes twice, nothing is refused."""
    async with redis() as running, linked(tmp_path, running, *workers) as gateways:
        await go_round(gateways, js, how)


@pytest.mark.parametrize("how", TRANSPORTS)
async def test_the_javascript_client_over_tls_and_nats(
    tmp_path: Path, js: JsDriver, how: str
) -> None:
    """No authority that browsers know: one of the cluster's own."""
    listen = listen_tls(Authority(tmp_path).sign("shop.example"))
    async with (
        nats() as running,
        linked(tmp_path, running, 1, 1, listen=listen) as gateways,
    ):
        await go_round(gateways, js, how)
        for gateway in gateways:
            links = (await gateway.status())["cluster"]["links"]
            assert (links["up"], links["faults"]) == (1, [])
            assert len(await answered(links["ports"][0])) < NONCE  # nobody gets in without TLS


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


async def test_a_node_that_is_killed_takes_nobody_along(tmp_path: Path) -> None:
    """Its clients get 503 until it is known to be gone, and then 400 at once."""
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(redis())
        killed, other = await stack.enter_async_context(linked(tmp_path, running, 1, 1))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        polling = "/socket.io/?EIO=4&transport=polling"
        sids = []
        for gateway in (killed, other):
            async with http.get(gateway.url + polling) as answer:
                sids.append(json.loads((await answer.text())[1:])["sid"])
        killed.process.kill()
        statuses: list[int] = []

        async def is_gone() -> bool:
            async with http.get(f"{other.url}{polling}&sid={sids[0]}") as answer:
                statuses.append(answer.status)
            return answer.status == 400

        await until_true(is_gone)
        assert set(statuses[:-1]) <= {503}
        await until_linked(other, up=0)
        async with http.post(f"{other.url}{polling}&sid={sids[1]}", data="40") as answer:
            assert await answer.text() == "ok"


async def test_another_secret_links_nothing(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(redis())
        one, two = [
            await stack.enter_async_context(
                run_workers(file(tmp_path / secret[:3], running, f"secret: {secret}"))
            )
            for secret in ("one secret of two", "two secrets of two")
        ]
        await until_linked(one, two, up=0, down=1)
        await one.logs("it has another cluster.listen.secret")
        links = (await one.status())["cluster"]["links"]
        assert links["faults"] == ["it has another cluster.listen.secret"]
        assert len(links["ports"]) == 1


@pytest.mark.parametrize("kind", ["another authority", "expired"])
async def test_a_certificate_that_is_refused_links_nothing(tmp_path: Path, kind: str) -> None:
    """Each says so once, and `status` says why."""
    authority, other = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    signed = other.sign() if kind == "another authority" else authority.sign(is_expired=True)
    blocks = listen_tls(authority.sign()), listen_tls(signed, authority)
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(redis())
        good, bad = [
            await stack.enter_async_context(run_workers(file(tmp_path / name, running, block)))
            for name, block in zip(("good", "bad"), blocks, strict=True)
        ]
        await until_linked(good, bad, up=0, down=1)
        why = "its certificate is refused: "
        line = await good.logs(f"is down: {why}")
        await good.logs(f"a connection of 127.0.0.1 was refused: {why}")
        await bad.logs("is down: ")
        assert (await good.status())["cluster"]["links"]["faults"][0].startswith(why)
        (fault,) = (await bad.status())["cluster"]["links"]["faults"]
        assert "certificate of this member" in fault
        for _ in range(3):  # it tries again, and says no more
            await until_tried(good)
        assert [each for each in good.lines if "the link to member" in each] == [line]
        assert len([each for each in bad.lines if "the link to member" in each]) == 1


async def until_tried(gateway: GatewayOfWorkers) -> None:
    """Wait until another connection was refused."""
    name = "sockgw_link_refused_total"
    before = await figure(gateway, name)

    async def is_more() -> bool:
        return await figure(gateway, name) > before

    await until_true(is_more)


async def test_a_change_waits_for_a_restart(tmp_path: Path) -> None:
    async with redis() as running:
        written = file(tmp_path / "one", running)
        async with run_workers(written) as gateway:
            edit(written, "a secret of", "another secret of")
            assert (await gateway.reload())["result"] == "applied"
            assert (await gateway.status())["pending"] == ["cluster"]
