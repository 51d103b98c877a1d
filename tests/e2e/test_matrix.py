"""The stock clients, each on every transport: nothing is lost, nothing is truncated."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.daemon_in_loop import served
from tests.deadline import DEADLINE
from tests.e2e.clients import KINDS, Kind, Parser
from tests.gateway_files import write
from tests.js_client import JsClient, JsDriver

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG = """
server: {serializer: %s}
namespaces:
  /:
    routes:
      echo: plugin.echo
      reply: plugin.reply
      ask: plugin.ask
      give: plugin.give
      count: plugin.count
      never: {use: plugin.never, on_disconnect: cancel}
      kick: plugin.kick
  /auth:
    connection_middleware: [plugin.door]
    routes: {reply: plugin.reply, who: plugin.who}
"""

PLUGIN = """
import asyncio
from gateway import Reject

async def echo(ctx):
    await ctx.socket.emit("echo", *ctx.args)

async def reply(ctx):
    return tuple(ctx.args)

async def ask(ctx):
    return tuple(await ctx.socket.call("question", *ctx.args))

async def give(ctx, kind: str, size: int):
    return {"text": "x", "multibyte": "€", "binary": b"x"}[kind] * size

async def count(ctx, number: int):
    for n in range(number):
        await ctx.socket.emit("tick", n)

async def never(ctx):
    await asyncio.Event().wait()

async def kick(ctx):
    await ctx.socket.disconnect()

async def door(ctx, next):
    if ctx.socket.handshake.auth.get("token") != "secret":
        raise Reject("unauthorized", "log in first", {"try": ["again", 1]})
    await next()

async def who(ctx):
    return dict(ctx.socket.handshake.auth), ctx.socket.handshake.query.get("who")
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def urls(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[Parser, str]]:
    """A gateway for each serializer."""
    files = {
        parser: write(tmp_path_factory.mktemp(parser), CONFIG % parser, plugin=PLUGIN)
        for parser in ("json", "msgpack")
    }
    async with served(files["json"]) as json, served(files["msgpack"]) as msgpack:
        yield {"json": json, "msgpack": msgpack}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(js_packages: None) -> AsyncIterator[JsDriver]:
    async with JsDriver() as driver:
        yield driver
    assert driver.faults == []


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


@pytest.fixture
def url(kind: Kind, urls: dict[Parser, str]) -> str:
    return urls[kind.parser]


@pytest_asyncio.fixture(loop_scope="module")
async def client(kind: Kind, url: str, driver: JsDriver) -> AsyncIterator[JsClient]:
    """A client that is connected; it answers what it is asked with what it was asked."""
    client = await driver.connect(url, acks="echo", reconnection=False, **kind.options)
    if kind.transport == "upgrade":
        assert await client.receive("upgrade") == [{"transport": "websocket"}]
    else:
        assert client.transport == kind.transport
    yield client
    await client.close()


async def there_and_back(client: JsClient, *args: Any) -> None:
    """By events, and by acks both ways."""
    await client.emit("echo", *args)
    assert await client.receive("echo") == [*args]
    assert await client.call("reply", *args) == [*args]
    assert await client.call("ask", *args) == [*args]
    assert await client.receive("question") == [*args]


async def test_text(client):
    await there_and_back(client, 'plain, "quoted", \\, \0, \n and € 🦄 \u2028')
    await there_and_back(client, "")


async def test_many_arguments(client):
    await there_and_back(client)
    await there_and_back(client, None)
    args = [1, -1.5, True, None, "x", [], {}, [[{"a": [{"b": None}]}]], 2**53, -(2**40), 1e-300]
    await there_and_back(client, *args, *range(100))


async def test_binary(client):
    await there_and_back(client, bytes(range(256)))
    await there_and_back(client, b"", {"a": [b"\0", {"b": b"\1"}]}, "text between", b"\2" * 1000)


async def test_binary_and_text_by_turns_keep_their_order(client):
    sent = [[n] if n % 2 else [n, bytes([n]) * n] for n in range(40)]
    for args in sent:
        await client.emit("echo", *args)
    assert [await client.receive("echo") for _ in sent] == sent


@pytest.mark.parametrize("size", [50_000, 300_000, 900_000])
async def test_long_text(client, kind, size):
    if not (kind.base64 and kind.parser == "msgpack" and size == 900_000):  # over the limit
        assert await client.call("reply", "x" * size) == ["x" * size]
    assert await client.call("give", "text", size) == ["x" * size]


async def test_long_multibyte_text(client):
    text = "€" * 100_000
    assert await client.call("reply", text) == [text]
    assert await client.call("give", "multibyte", 100_000) == [text]


@pytest.mark.parametrize("size", [700_000, 900_000])
async def test_long_binary(client, kind, size):
    if not (kind.base64 and size == 900_000):  # over the limit
        assert await client.call("reply", b"x" * size) == [b"x" * size]
    assert await client.call("give", "binary", size) == [b"x" * size]


async def test_over_the_limit(client, kind):
    await client.emit("reply", "x" * 1_100_000)
    reason = "transport error" if kind.transport == "polling" else "transport close"
    assert await client.receive("disconnect") == [reason]


async def test_forty_emits_in_a_tick(client):
    await client.burst("echo", 40)
    assert [await client.receive("echo") for _ in range(40)] == [[n] for n in range(40)]


async def test_two_hundred_emits_of_the_server(client):
    await client.emit("count", 200)
    assert [await client.receive("tick") for _ in range(200)] == [[n] for n in range(200)]


async def test_emits_before_connect_and_during_the_upgrade(driver, url, kind):
    client = await driver.client(url, **kind.options)
    await client.burst("echo", 20)
    await client.receive("connect")
    for number in range(20, 60):
        await client.emit("echo", number)
        assert await client.call("reply", number) == [number]
    assert [await client.receive("echo") for _ in range(60)] == [[n] for n in range(60)]
    if kind.transport == "upgrade":
        await client.receive("upgrade")
    await client.close()


async def test_two_namespaces_on_one_connection(js_packages, url, kind):
    # In a process of their own: clients share a connection only if none has ever connected to it.
    async with JsDriver() as driver:
        shared = {**kind.options, "forceNew": False}
        first = await driver.connect(url, query={"who": "first"}, **shared)
        auth = {"token": "secret"}
        second = await driver.connect(
            url, namespace="/auth", auth=auth, query={"who": "second"}, **shared
        )
        assert await second.call("who") == [auth, "first"]
        assert await first.call("reply", 1) == [1]
        assert first.id != second.id
        await first.disconnect()
        assert await second.call("reply", 2) == [2]
        await second.disconnect()
        assert await second.receive("disconnect") == ["io client disconnect"]
    assert driver.faults == []


async def test_auth(driver, url, kind):
    auth = {"token": "secret", "more": [1, {"a": None}]}
    client = await driver.connect(url, namespace="/auth", auth=auth, **kind.options)
    assert await client.call("who") == [auth, None]
    await client.close()


async def test_connect_error(driver, url, kind):
    client = await driver.client(url, namespace="/auth", auth={"token": "x"}, **kind.options)
    (error,) = await client.receive("connect_error")
    assert error["message"] == "log in first"
    assert error["data"] == {"code": "unauthorized", "data": {"try": ["again", 1]}}
    await client.close()


async def test_unknown_namespace(driver, url, kind):
    client = await driver.client(url, namespace="/nowhere", **kind.options)
    (error,) = await client.receive("connect_error")
    assert error["message"] == "Invalid namespace"
    await client.close()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.version == 4], ids=str)
async def test_ack_timeout(client):
    with pytest.raises(TimeoutError, match="operation has timed out"):
        await client.call("never", client_timeout=0.1)
    assert await client.call("reply", client_timeout=DEADLINE) == []


async def test_kick(client):
    await client.emit("kick")
    assert await client.receive("disconnect") == ["io server disconnect"]


async def test_leaving_and_coming_back(client):
    first = client.id
    await client.disconnect()
    assert await client.receive("disconnect") == ["io client disconnect"]
    await client.receive("engine_close")
    await client.connect()
    await client.receive("connect")
    assert client.id != first
    assert await client.call("reply", 1) == [1]


@pytest.mark.parametrize(
    ("transports", "message"),
    [
        (["polling"], "xhr poll error"),
        (["websocket"], "websocket error"),
        (["polling", "websocket"], "xhr poll error"),
    ],
)
async def test_2_x_is_refused(driver, urls, transports, message):
    options = {"transports": transports, "reconnection": False}
    client = await driver.client(urls["json"], version=2, **options)
    (error,) = await client.receive("connect_error")
    assert error["message"] == message
    await client.close()
    url = f"{urls['json']}/socket.io/?EIO=3&transport=polling"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        assert (answer.status, (await answer.json())["code"]) == (400, 5)
