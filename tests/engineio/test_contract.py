"""What python-socketio asks of its engine, read from the installed version, and held to."""

from __future__ import annotations

import ast
import asyncio
import inspect
from pathlib import Path
from typing import Any

import aiohttp
import engineio
import pytest
import socketio
from aiohttp import web
from engineio.async_drivers.aiohttp import translate_request

from gateway.engineio.environ import environ
from gateway.engineio.server import Engine
from tests.deadline import DEADLINE
from tests.engineio.conftest import LONG
from tests.engineio.stock import StockServer, serving
from tests.engineio.wire import Server, Wire, refused

ASKED = {
    "async_mode",
    "attach",
    "create_event",
    "generate_id",
    "get_session",
    "handle_request",
    "on",
    "send",
    "send_packet",
    "shutdown",
    "sleep",
    "start_background_task",
    "transport",
}

SOURCES = [
    "async_manager",
    "async_namespace",
    "async_pubsub_manager",
    "async_redis_manager",
    "async_server",
    "base_manager",
    "base_namespace",
    "base_server",
]


def asked_of_engines() -> dict[str, set[int]]:
    """The attributes of `….eio` in python-socketio, and with how many arguments they are called."""
    found: dict[str, set[int]] = {}
    for name in SOURCES:
        tree = ast.parse((Path(socketio.__file__).parent / f"{name}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and is_engine(node.value):
                found.setdefault(node.attr, set())
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Attribute(value=value, attr=attr)) if is_engine(value):
                    found[attr].add(len(node.args))
    return found


def is_engine(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "eio"


def test_nothing_new_is_asked() -> None:
    assert set(asked_of_engines()) == ASKED


@pytest.mark.parametrize("name", sorted(ASKED - {"async_mode"}))
def test_engine_does_what_is_asked(name: str) -> None:
    ours, theirs = getattr(Engine, name), getattr(engineio.AsyncServer, name)
    assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(theirs)
    for arguments in asked_of_engines()[name]:
        if name != "handle_request":  # called with `*args`
            inspect.signature(ours).bind(*range(arguments + 1))


def test_async_mode_is_known_to_python_socketio() -> None:
    assert Engine.async_mode in engineio.AsyncServer().async_modes()


def test_options_that_do_not_exist_are_refused() -> None:
    with pytest.raises(TypeError, match="ping_intervall"):
        StockServer(ping_intervall=25)


@pytest.mark.parametrize("transports", [["polling"], ["websocket"], ["polling", "websocket"]])
async def test_stock_server_works(transports: list[str]) -> None:
    sio = StockServer(**LONG)
    told: list[object] = []
    gone = asyncio.Event()

    @sio.event
    async def connect(sid: str, environ: dict[str, Any], auth: object) -> None:
        await sio.save_session(sid, {"auth": auth})
        told.extend([auth, environ["REMOTE_ADDR"]])

    @sio.event
    async def disconnect(sid: str, reason: str) -> None:
        told.extend([sio.transport(sid), await sio.get_session(sid)])
        gone.set()

    async with serving(sio) as url:
        client = socketio.AsyncClient()
        back: asyncio.Queue[Any] = asyncio.Queue()
        client.on("chat", back.put)
        await client.connect(url, transports=transports, auth={"token": "x"})
        sent = {"text": "€", "binary": [b"\x00\x01", b"x" * 300_000]}
        assert await client.call("chat", sent, timeout=DEADLINE) == sent
        assert await asyncio.wait_for(back.get(), DEADLINE) == sent
        assert client.transport() == transports[-1]
        await client.disconnect()
        await asyncio.wait_for(gone.wait(), DEADLINE)
    assert told == [{"token": "x"}, "127.0.0.1", transports[-1], {"auth": {"token": "x"}}]
    assert sio.eio.sessions == sio.eio._leaving == {}
    with pytest.raises(KeyError):
        sio.eio.transport("gone")


async def test_stock_server_closes_the_sessions_of_clients_it_disconnects() -> None:
    sio = StockServer(**LONG)
    async with serving(sio) as url:
        client = socketio.AsyncClient(reconnection=False)
        gone = asyncio.Event()
        client.on("disconnect", lambda reason: gone.set())
        await client.connect(url)
        for sid in list(sio.eio.sessions):
            await sio.eio.disconnect(sid)
            await sio.eio.disconnect("gone")
        await asyncio.wait_for(gone.wait(), DEADLINE)


async def test_sending_to_a_session_that_is_gone_is_no_error() -> None:
    engine = Engine()
    await engine.send("gone", "x")
    await engine.send_packet("gone", engineio.packet.Packet(engineio.packet.MESSAGE, "x"))
    await engine.disconnect("gone")


class Handlers:
    """An engine with python-socketio's kind of handlers."""

    def __init__(self, engine: Engine) -> None:
        engine.on_connect, engine.on_message = None, engine._message
        engine.on_disconnect = engine._disconnect
        for event in ("connect", "message", "disconnect"):
            engine.on(event, getattr(self, event))
        self.engine = engine
        self.log: list[object] = []
        self.told = asyncio.Event()
        self.go_on = asyncio.Event()

    async def connect(self, sid: str, environ: dict[str, Any]) -> bool:
        return environ["QUERY_STRING"].find("refuse") < 0

    async def message(self, sid: str, data: str) -> None:
        self.log.append(f"{data} begins")
        if data == "fail":
            raise ValueError(data)
        if data == "close":
            await self.engine.disconnect(sid)
        if data == "end":
            self.engine.sessions[sid].end("server disconnect")
        await asyncio.sleep(0)
        self.log.append(f"{data} ends")

    async def disconnect(self, sid: str, reason: str) -> None:
        self.log.append(reason)
        self.told.set()


@pytest.fixture
def pings() -> dict[str, float]:
    return LONG


@pytest.fixture
def handlers(server: Server) -> Handlers:
    return Handlers(server.engine)


async def test_messages_of_a_session_are_handled_one_after_the_other(
    handlers: Handlers, wire: Wire
) -> None:
    async with wire.streaming() as stream:
        await stream.send("4a", "4b", "1")
        await asyncio.wait_for(handlers.told.wait(), DEADLINE)
    await wire.open()
    handlers.told.clear()
    await wire.post("4c\x1e4d\x1e1")
    await asyncio.wait_for(handlers.told.wait(), DEADLINE)
    each = [f"{name} {step}" for name in "abcd" for step in ("begins", "ends")]
    assert handlers.log == [*each[:4], "client disconnect", *each[4:], "client disconnect"]


async def test_handler_that_closes_its_own_session_is_not_cut_short(
    handlers: Handlers, wire: Wire
) -> None:
    async with wire.streaming() as stream:
        await stream.send("4close", "4never")
        assert await stream.receive() is None
        await asyncio.wait_for(handlers.told.wait(), DEADLINE)
    assert sorted(map(str, handlers.log)) == ["close begins", "close ends", "server disconnect"]


async def test_handler_that_closes_its_own_session_by_polling_has_its_post_answered(
    handlers: Handlers, wire: Wire
) -> None:
    await wire.open()
    assert (await wire.post("4end")).body == "ok"
    await asyncio.wait_for(handlers.told.wait(), DEADLINE)
    assert sorted(map(str, handlers.log)) == ["end begins", "end ends", "server disconnect"]


async def test_owner_that_fails_is_logged_and_harms_nobody(
    server: Server, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ValueError

    echo, server.engine.on_message = server.engine.on_message, fail
    await wire.open()
    assert (await wire.post("4fail")).body == "ok"
    server.engine.on_message, server.engine.on_disconnect = echo, fail
    await wire.post("4hello")
    assert await wire.receive() == ["4hello"]
    assert (await wire.post("1")).body == "ok"
    assert server.engine.sessions == {}
    assert caplog.messages.count("on_message failed") == 1
    assert caplog.messages.count("on_disconnect failed") == 1


async def test_handler_that_fails_is_logged_and_the_session_goes_on(
    handlers: Handlers, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    async with wire.streaming() as stream:
        await stream.send("4fail", "4a", "1")
        await asyncio.wait_for(handlers.told.wait(), DEADLINE)
    assert handlers.log == ["fail begins", "a begins", "a ends", "client disconnect"]
    assert "the message handler failed" in caplog.messages


async def test_connect_handler_may_refuse(handlers: Handlers, wire: Wire, server: Server) -> None:
    answer = await wire.poll(refuse="1")
    assert (answer.status, answer.body) == (403, refused(4, "Forbidden"))
    with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
        async with wire.stream(refuse="1"):
            pass
    assert server.engine.sessions == {}
    assert handlers.log == []


async def test_environ_has_what_python_engineio_has_and_the_real_peer(
    http: aiohttp.ClientSession,
) -> None:
    seen: list[tuple[dict[str, Any], dict[str, Any]]] = []

    async def look(request: web.Request) -> web.Response:
        seen.append((environ(request), translate_request(request)))
        return web.Response()

    app = web.Application()
    app.router.add_post("/engine.io/", look)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/engine.io/?EIO=4"
    headers = [("X-Two", "1"), ("X-Two", "2"), ("X-Forwarded-Proto", "https")]
    await http.post(url, data=b"x", headers=headers)
    await runner.cleanup()
    ((ours, theirs),) = seen
    assert ours.keys() == theirs.keys()
    assert {key for key in ours if ours[key] != theirs[key]} == {
        "REMOTE_PORT",
        "wsgi.url_scheme",  # theirs believes X-Forwarded-Proto
    }
    assert ours["REMOTE_ADDR"] == "127.0.0.1"
    assert ours["REMOTE_PORT"] != "0"
    assert ours["CONTENT_LENGTH"] == "1"
    assert ours["HTTP_X_TWO"] == "1,2"
    assert ours["wsgi.url_scheme"] == "http"
