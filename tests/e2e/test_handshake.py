"""Handshake middleware, seen from the official JavaScript client and from plain HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.engineio.engine import Engine
from tests.deadline import deadline
from tests.raw_client import raw
from tests.reload.edited_daemon import Running, running, until

CONFIG = """
server: {handshake_middleware: [plugin.gate], cors_origins: ["https://page.example"]}
reload: {watch: "off", drain: 1h}
limits: {request_timeout: 1h}
namespaces:
  /: {routes: {show: plugin.show}}
  /other: {routes: {show: plugin.show}}
"""

PLUGIN = """
import asyncio
from gateway import HandshakeContext, Next, Reject

passed = waiting = 0
opened = asyncio.Event()

async def gate(ctx: HandshakeContext, next: Next) -> None:
    global passed, waiting
    passed += 1
    ctx.headers["X-Served-By"] = "VERSION"
    ctx.set_cookie("seen", str(passed))
    wanted = ctx.handshake.query.get("gate", "pass")
    if wanted == "reject":
        raise Reject("unauthorized", "log in first", {"at": "/login"}, status=401)
    if wanted == "unsendable":
        raise Reject("unauthorized", data=b"bytes")
    if wanted == "throw":
        raise ValueError("secret detail")
    if wanted == "inject":
        ctx.headers["X-Name"] = "a\\r\\nSet-Cookie: b=c"
    if wanted == "cancel":
        raise asyncio.CancelledError
    if wanted == "return":
        return
    if wanted == "wait":
        waiting += 1
        try:
            await opened.wait()
        finally:
            waiting -= 1
    ctx.data["user"] = {"name": "Ada", "cookies": ctx.handshake.cookies}
    await next()
    ctx.headers["X-After"] = "next"
    if wanted == "twice":
        await next()
    if wanted == "after":
        raise Reject("after", "refused after next()")

async def show(ctx):
    ctx.socket.data["user"]["name"] += "!" if ctx.args else ""
    return {**ctx.socket.data, "passed": passed}
"""

TRANSPORTS = [["polling"], ["websocket"], ["polling", "websocket"]]
HANDSHAKE = "/socket.io/?EIO=4&transport=polling"
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


class Gated:
    """A gateway with handshake middleware, and what its plugin has counted."""

    def __init__(self, one: Running, http: aiohttp.ClientSession) -> None:
        self.one = one
        self.http = http
        self.url = one.url

    def __getattr__(self, name: str) -> Any:
        """A variable of the plugin that serves."""
        return self.one.serving.build.plugins.resolve("plugin.show").target.__globals__[name]

    @property
    def counted(self) -> int:
        """The sessions that are counted, those that are still to open included."""
        return self.one.serving.sockets.engine.admission._count

    async def get(self, gate: str = "pass", **headers: str) -> aiohttp.ClientResponse:
        """The answer to a handshake; one that asks for a WebSocket has `UPGRADE` in its headers."""
        transport = "websocket" if "Upgrade" in headers else "polling"
        url = f"{self.url}/socket.io/?EIO=4&transport={transport}&gate={gate}"
        async with deadline(), self.http.get(url, headers=headers) as answer:
            await answer.read()
        return answer


@asynccontextmanager
async def gated(folder: Path, config: str = CONFIG) -> AsyncIterator[Gated]:
    plugin = PLUGIN.replace("VERSION", "first")
    jar = aiohttp.DummyCookieJar()
    async with (
        running(folder, config, plugin=plugin) as one,
        aiohttp.ClientSession(cookie_jar=jar) as http,
    ):
        yield Gated(one, http)


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gated]:
    async with gated(tmp_path) as gate:
        yield gate
        gate.opened.set()


@pytest.fixture
def cookies(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The cookies of each request so far."""
    heard: list[str | None] = []
    respond = Engine.respond

    def hear(engine: Engine, request: Any, connection: Any) -> Any:
        heard.append(request.headers.get("cookie"))
        return respond(engine, request, connection)

    monkeypatch.setattr(Engine, "respond", hear)
    return heard


# Accepted


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_a_client_passes_once_and_its_sockets_get_the_data(js, gate, transports) -> None:
    root = await js.connect(gate.url, transports=transports)
    if len(transports) == 2:
        await root.receive("upgrade")
    assert await root.call("show", 1) == [{"user": {"name": "Ada!", "cookies": {}}, "passed": 1}]


@pytest.mark.parametrize("transports", [["polling"], ["polling", "websocket"]])
async def test_a_cookie_that_is_set_comes_back(js, cookies, gate, transports) -> None:
    client = await js.connect(gate.url, transports=transports, withCredentials=True)
    if len(transports) == 2:
        await client.receive("upgrade")
    await client.call("show")
    first, *others = cookies
    assert first is None
    assert set(others) == {"seen=1"}


async def test_each_namespace_begins_with_the_data(gate) -> None:
    async with raw(gate.url) as client:
        for namespace in ("/", "/other"):
            await client.join(namespace)
        await client.send('420["show"]')
        assert '"name":"Ada"' in str(await client.receive())
        await client.send('42/other,0["show"]')
        assert '"name":"Ada"' in str(await client.receive())


async def test_headers_and_cookies_are_on_the_answer_to_a_poll(gate) -> None:
    answer = await gate.get()
    assert answer.status == 200
    assert answer.headers["X-Served-By"] == "first"
    assert answer.headers["X-After"] == "next"
    assert answer.headers.getall("Set-Cookie") == ["seen=1; Path=/; HttpOnly; SameSite=Lax"]
    assert (await answer.text()).startswith('0{"sid":')


async def test_later_answers_do_not_have_them(gate) -> None:
    async with aiohttp.ClientSession() as http, http.get(gate.url + HANDSHAKE) as answer:
        sid = json.loads((await answer.text())[1:])["sid"]
        async with http.post(f"{gate.url}{HANDSHAKE}&sid={sid}", data="40") as posted:
            assert "Set-Cookie" not in posted.headers
        async with http.get(f"{gate.url}{HANDSHAKE}&sid={sid}") as polled:
            assert (await polled.text()).startswith("40")
            assert "X-Served-By" not in polled.headers
    assert gate.passed == 1


async def test_headers_and_cookies_are_on_the_answer_to_a_websocket(gate) -> None:
    url = f"{gate.url}/socket.io/?EIO=4&transport=websocket&gate=pass"
    async with gate.http.ws_connect(url) as websocket:
        assert websocket._response.headers["X-After"] == "next"
        assert websocket._response.cookies["seen"].value == "1"
        assert (await websocket.receive_str()).startswith('0{"sid":')


async def test_frames_that_come_early_wait_for_the_session(gate) -> None:
    host, port = gate.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    fields = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items())
    head = (
        f"GET /socket.io/?EIO=4&transport=websocket&gate=wait HTTP/1.1\r\nHost: a\r\n{fields}\r\n"
    )
    message = b'420["show","' + b"x" * 300_000 + b'"]'
    writer.write(head.encode() + frame(b"40") + frame(message))
    await until(lambda: gate.waiting)
    gate.opened.set()
    async with deadline():
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        answers = b""
        while b'430[{"user"' not in answers:
            answers += await reader.read(2**16)
    writer.close()


def frame(text: bytes) -> bytes:
    """A masked text frame; the mask is zeros."""
    size = len(text)
    length = bytes([0x80 | size]) if size < 126 else b"\xff" + size.to_bytes(8, "big")
    return b"\x81" + length + bytes(4) + text


# Refused


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_a_refusal_is_a_connect_error_with_its_status(js, gate, transports) -> None:
    client = await js.client(
        gate.url, transports=transports, query={"gate": "reject"}, reconnection=False
    )
    [error] = await client.receive("connect_error")
    if transports == ["websocket"]:
        assert error["description"] == "Unexpected server response: 401"
        return
    assert error["description"] == 401
    assert json.loads(error["body"]) == {
        "code": "unauthorized",
        "message": "log in first",
        "data": {"at": "/login"},
    }


ENDS = [
    ("reject", 401, {"code": "unauthorized", "message": "log in first", "data": {"at": "/login"}}),
    ("return", 403, {"code": "refused", "message": "connection refused"}),
    ("after", 403, {"code": "after", "message": "refused after next()"}),
    ("throw", 500, {"code": "internal", "message": "internal error"}),
    ("twice", 500, {"code": "internal", "message": "internal error"}),
    ("inject", 500, {"code": "internal", "message": "internal error"}),
    ("cancel", 500, {"code": "internal", "message": "internal error"}),
    ("unsendable", 500, {"code": "internal", "message": "internal error"}),
]


@pytest.mark.parametrize("headers", [{}, UPGRADE], ids=["polling", "websocket"])
@pytest.mark.parametrize(("wanted", "status", "body"), ENDS)
async def test_every_end_of_the_chain_is_an_answer(gate, wanted, status, body, headers) -> None:
    answer = await gate.get(wanted, Origin="https://page.example", **headers)
    assert (answer.status, await answer.json()) == (status, body)
    assert answer.headers["Access-Control-Allow-Origin"] == "https://page.example"
    assert answer.headers["X-Served-By"] == "first"
    assert answer.headers.getall("Set-Cookie") == ["seen=1; Path=/; HttpOnly; SameSite=Lax"]
    assert (gate.counted, gate.one.serving.sockets.engine.sessions) == (0, {})


async def test_a_fault_is_logged_without_the_gateways_own_frames(gate, caplog) -> None:
    with caplog.at_level(logging.ERROR, "sockgw.plugin"):
        await gate.get("inject")
    [record] = [each for each in caplog.records if each.name == "sockgw.plugin"]
    assert record.getMessage() == "UsageError in a handshake"
    assert (record.address, record.event) == ("127.0.0.1", "handshake")
    frames = []
    trace = record.exc_info[2]
    while trace is not None:
        frames.append(Path(trace.tb_frame.f_code.co_filename).name)
        trace = trace.tb_next
    assert frames == ["plugin.py"]


async def test_a_page_that_may_not_connect_does_not_reach_the_gate(gate) -> None:
    answer = await gate.get(Origin="https://other.example")
    assert (answer.status, gate.passed) == (403, 0)


async def test_a_request_that_is_refused_by_the_protocol_does_not_reach_the_gate(gate) -> None:
    async with gate.http.get(f"{gate.url}/socket.io/?EIO=3&transport=polling") as answer:
        assert (answer.status, gate.passed) == (400, 0)


# Waiting


@pytest.mark.parametrize("headers", [{}, UPGRADE], ids=["polling", "websocket"])
async def test_a_chain_that_takes_too_long_is_cancelled(tmp_path, headers) -> None:
    async with gated(
        tmp_path, CONFIG.replace("request_timeout: 1h", "request_timeout: 1s")
    ) as gate:
        answer = await gate.get("wait", **headers)
        late = {"code": "timeout", "message": "the handshake took too long"}
        assert (answer.status, await answer.json()) == (504, late)
        await until(lambda: not gate.waiting)
        assert gate.counted == 0
        assert gate.one.serving.sockets.engine.limits_met.counts["request_timeout"] == 1


@pytest.mark.parametrize("headers", [{}, UPGRADE], ids=["polling", "websocket"])
async def test_a_chain_whose_client_leaves_is_cancelled(gate, headers) -> None:
    asking = asyncio.create_task(gate.get("wait", **headers))
    await until(lambda: gate.waiting)
    assert gate.counted == 1
    asking.cancel()
    await until(lambda: not gate.waiting)
    assert gate.counted == 0


async def test_a_handshake_that_waits_counts_as_a_session(tmp_path) -> None:
    config = CONFIG.replace("limits: {", "limits: {sockets: 1, ")
    async with gated(tmp_path, config) as gate:
        asking = asyncio.create_task(gate.get("wait"))
        await until(lambda: gate.waiting)
        answer = await gate.get()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert gate.passed == 1
        gate.opened.set()
        assert (await asking).status == 200
        assert gate.counted == 1


# Reloads


async def test_a_handshake_finishes_in_the_generation_it_entered(gate) -> None:
    asking = asyncio.create_task(gate.get("wait"))
    await until(lambda: gate.waiting)
    opened = gate.opened
    (gate.one.folder / "plugins" / "plugin.py").write_text(PLUGIN.replace("VERSION", "second"))
    assert (await gate.one.reload()).result == "applied"
    assert (await gate.get()).headers["X-Served-By"] == "second"
    assert set(gate.one.live.alive) == {1, 2}
    opened.set()
    assert (await asking).headers["X-Served-By"] == "first"
    await until(lambda: set(gate.one.live.alive) == {2})


async def test_the_next_handshake_passes_the_chain_of_the_new_file(gate) -> None:
    gate.one.config(CONFIG.replace("[plugin.gate]", "[]"))
    verdict = await gate.one.reload()
    assert verdict.plan.changes == ("~ server.handshake_middleware: [plugin.gate] -> []",)
    assert "X-Served-By" not in (await gate.get()).headers


async def test_a_chain_that_outlasts_the_drain_is_cancelled_with_an_answer(gate) -> None:
    asking = asyncio.create_task(gate.get("wait"))
    await until(lambda: gate.waiting)
    gate.one.config(CONFIG.replace("drain: 1h", "drain: 1ms") + "  /new:\n")
    await gate.one.reload()
    answer = await asking
    cancelled = {"code": "cancelled", "message": "the gateway reloads or stops: try again"}
    assert (answer.status, await answer.json()) == (503, cancelled)
    assert answer.headers["Retry-After"] == "1"


async def test_a_stop_answers_those_who_wait(tmp_path) -> None:
    async with gated(tmp_path) as gate:
        asking = asyncio.create_task(gate.get("wait"))
        await until(lambda: gate.waiting)
        gate.one.daemon.stop()
        await until(lambda: not gate.one.serving.sockets.engine.accepting)
        gate.opened.set()
        answer = await asking
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
