"""The terminal's client against a stock server, and against strangers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest
import socketio
from aiohttp import web

from gateway.client.socket import ConnectError, Disconnected, Target, connect
from tests.app_site import serve_app
from tests.deadline import DEADLINE, deadline

TIMEOUT = DEADLINE
OPEN = '0{"sid": "x", "upgrades": [], "pingInterval": 25000, "pingTimeout": 20000}'
TRANSPORTS = [("websocket",), ("polling",), ("polling", "websocket")]

Transports = tuple[Literal["polling", "websocket"], ...]


@pytest.fixture
def sio() -> socketio.AsyncServer:
    return socketio.AsyncServer(async_mode="aiohttp", monitor_clients=False, namespaces=["/", "/a"])


@pytest.fixture
async def url(sio: socketio.AsyncServer, serve: Any) -> AsyncIterator[str]:
    async with serve(sio) as address:
        yield address


class Heard(list[tuple[str, list[Any]]]):
    """The events a client has heard."""

    def __init__(self) -> None:
        super().__init__()
        self._news = asyncio.Event()

    def __call__(self, event: str, args: list[Any]) -> None:
        self.append((event, args))
        self._news.set()

    async def count(self, number: int) -> None:
        async with deadline():
            while len(self) < number:
                self._news.clear()
                await self._news.wait()


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_events_and_acks_go_both_ways(
    sio: socketio.AsyncServer, url: str, transports: Transports
) -> None:
    async def echo(sid: str, *args: Any) -> tuple[Any, ...]:
        await sio.emit("echo", args, to=sid)
        return args

    sio.on("echo", echo)
    heard = Heard()
    async with connect(Target(url, transports=transports), heard, timeout=TIMEOUT) as socket:
        assert socket.transport == transports[-1]
        assert socket.id in sio.manager.rooms["/"]
        ack = await socket.ask("echo", [1, {"a": b"\x00"}, None])
        assert await socket.while_connected(ack) == [1, {"a": b"\x00"}, None]
        assert heard == [("echo", [1, {"a": b"\x00"}, None])]


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_what_was_emitted_last_arrives_before_the_end(
    sio: socketio.AsyncServer, url: str, transports: Transports
) -> None:
    arrived: asyncio.Queue[Any] = asyncio.Queue()
    sio.on("bye", lambda sid, *args: arrived.put_nowait(args))
    async with connect(Target(url, transports=transports), Heard(), timeout=TIMEOUT) as socket:
        await socket.emit("bye", ["x" * 100_000, b"\x01"])
    async with deadline():
        assert await arrived.get() == ("x" * 100_000, b"\x01")


async def test_events_that_come_with_the_connection_are_heard_inside_the_block(
    sio: socketio.AsyncServer, url: str
) -> None:
    async def greet(sid: str, environ: object, auth: object) -> None:
        await sio.emit("res", "auth!", to=sid)

    sio.on("connect", greet)
    heard = Heard()
    async with connect(Target(url), heard, timeout=TIMEOUT):
        assert heard == []
        await heard.count(1)
    assert heard == [("res", ["auth!"])]


async def test_an_event_the_server_wants_an_ack_of_is_acked(
    sio: socketio.AsyncServer, url: str
) -> None:
    async with connect(Target(url), Heard(), timeout=TIMEOUT) as socket:
        assert await sio.call("ask", to=socket.id, timeout=TIMEOUT) is None


async def test_what_came_before_the_end_is_heard_before_the_end() -> None:
    """One poll brings more packets than python-engineio takes, and the end of the connection."""
    ticks = [f'42["tick",{number}]' for number in range(50)]
    polls = iter([OPEN, "\x1e".join(['40{"sid":"y"}', *ticks, "1"])])

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=next(polls) if request.method == "GET" else "ok")

    app = web.Application()
    app.router.add_route("*", "/socket.io/", answer)
    heard = Heard()
    async with serve_app(app) as url, connect(Target(url), heard, timeout=TIMEOUT) as socket:
        assert await socket.gone() == "transport close"
        assert heard == [("tick", [number]) for number in range(50)]


async def test_a_long_message_arrives_whole(sio: socketio.AsyncServer, url: str) -> None:
    heard = Heard()
    async with connect(Target(url, transports=("websocket",)), heard, timeout=TIMEOUT):
        await sio.emit("long", "x" * 5_000_000)
        await heard.count(1)
    assert heard == [("long", ["x" * 5_000_000])]


async def test_headers_are_in_every_request_and_auth_in_the_handshake(
    sio: socketio.AsyncServer, serve: Any
) -> None:
    seen: list[object] = []

    async def greet(sid: str, environ: object, auth: object) -> None:
        seen.append(auth)

    @web.middleware
    async def note(request: web.Request, handler: Any) -> web.StreamResponse:
        seen.append(request.headers["X-Name"])
        answer: web.StreamResponse = await handler(request)
        return answer

    sio.on("connect", greet)
    who = {"auth": {"token": "x"}, "headers": {"X-Name": "y"}, "transports": ("polling",)}
    async with (
        serve(sio, middlewares=[note]) as url,
        connect(Target(url, **who), Heard(), timeout=TIMEOUT) as socket,
    ):
        await socket.emit("hello", [])
    assert {"token": "x"} in seen
    assert seen.count("y") >= 4


@pytest.mark.parametrize("transports", [("websocket",), ("polling",)])
async def test_a_socket_the_server_ends_is_gone(
    sio: socketio.AsyncServer, url: str, transports: Transports
) -> None:
    sio.on("kick", sio.disconnect)
    async with connect(Target(url, transports=transports), Heard(), timeout=TIMEOUT) as socket:
        ack = await socket.ask("kick", [])
        with pytest.raises(Disconnected, match=r"^io server disconnect$"):
            await socket.while_connected(ack)
        assert await socket.gone() == "io server disconnect"
        with pytest.raises(Disconnected, match=r"^io server disconnect$"):
            await socket.emit("more", [])


async def test_a_socket_ended_right_behind_its_acceptance_is_gone(
    sio: socketio.AsyncServer, url: str
) -> None:
    async def greet(sid: str, environ: object, auth: object) -> None:
        sio.start_background_task(sio.disconnect, sid)

    sio.on("connect", greet)
    async with connect(Target(url), Heard(), timeout=TIMEOUT) as socket, deadline():
        assert await socket.gone() == "io server disconnect"


async def test_a_server_that_goes_away_takes_its_sockets_along(
    sio: socketio.AsyncServer, serve: Any
) -> None:
    connected = asyncio.Event()

    async def stay(url: str) -> str:
        async with connect(Target(url), Heard(), timeout=TIMEOUT) as socket:
            connected.set()
            return await socket.gone()

    async with serve(sio) as url:
        staying = asyncio.create_task(stay(url))
        await connected.wait()
    assert await staying == "transport close"


@pytest.mark.parametrize("transports", [("websocket",), ("polling",)])
async def test_a_refusal_has_the_servers_message_and_data(
    sio: socketio.AsyncServer, url: str, transports: Transports
) -> None:
    async def refuse(sid: str, environ: object, auth: object) -> None:
        raise socketio.exceptions.ConnectionRefusedError("log in first", {"code": 7})

    sio.on("connect", refuse, namespace="/a")
    error = await _failure(Target(url, "/a", transports=transports))
    assert (error.message, error.data, error.refused) == ("log in first", {"code": 7}, True)


async def test_a_refusal_may_be_a_bare_string(url: str) -> None:
    error = await _failure(Target(url, "/nowhere"))
    assert (error.message, error.data, error.refused) == ("Unable to connect", None, True)


async def test_a_connection_that_is_never_accepted_times_out(
    sio: socketio.AsyncServer, url: str
) -> None:
    given_up = asyncio.Event()

    async def linger(sid: str, environ: object, auth: object) -> None:
        await given_up.wait()

    sio.on("connect", linger)
    error = await _failure(Target(url, transports=("websocket",)), timeout=0.1)
    assert error.message == "no answer within 0.1 s"
    given_up.set()


STATUS = "unexpected status code {} in server response"


@pytest.mark.parametrize(
    ("path", "transport", "message", "data"),
    [
        ("/missing/", "polling", STATUS.format(404), None),
        ("/missing/", "websocket", STATUS.format(404), None),
        ("/json/", "polling", STATUS.format(400), {"code": 5}),
        ("/broken/", "polling", "no Socket.IO server answers at /broken/", None),
        ("/html/", "polling", "unexpected response from server", None),
        ("/html/", "websocket", STATUS.format(200), None),
        ("/empty/", "polling", "no Socket.IO server answers at /empty/", None),
        ("/hollow/", "polling", "no Socket.IO server answers at /hollow/", None),
        ("/closing/", "websocket", "transport close before the namespace has answered", None),
    ],
)
async def test_a_stranger_is_no_socketio_server(
    stranger: str, path: str, transport: Any, message: str, data: object
) -> None:
    error = await _failure(Target(stranger, path=path, transports=(transport,)))
    assert (error.message, error.data, error.refused) == (message, data, False)


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_nobody_listening_is_told(transport: Any, unused_tcp_port: int) -> None:
    target = Target(f"http://127.0.0.1:{unused_tcp_port}", transports=(transport,))
    error = await _failure(target)
    assert error.message == f"nothing listens at 127.0.0.1:{unused_tcp_port}"


async def test_a_host_that_is_not_found_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    error = await _failure(Target("http://nowhere.example"))
    assert error.message == "cannot find the host nowhere.example: Name or service not known"


@pytest.fixture
async def stranger() -> AsyncIterator[str]:
    """A web server that is no Socket.IO server, each path in its own way."""
    answers = {
        "json": lambda: web.json_response({"code": 5}, status=400),
        "broken": lambda: web.Response(text="{", status=400, content_type="application/json"),
        "html": lambda: web.Response(text="<html>", content_type="text/html"),
        "empty": lambda: web.Response(text=""),
        "hollow": lambda: web.Response(text="0{}"),
    }

    async def answer(request: web.Request) -> web.StreamResponse:
        return answers[request.match_info["name"]]()

    async def close(request: web.Request) -> web.StreamResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        await websocket.send_str(OPEN)
        await websocket.receive()
        await websocket.close()
        return websocket

    app = web.Application()
    app.router.add_get("/closing/", close)
    app.router.add_get(f"/{{name:{'|'.join(answers)}}}/", answer)
    async with serve_app(app) as url:
        yield url


async def _failure(target: Target, timeout: float = TIMEOUT) -> ConnectError:
    with pytest.raises(ConnectError) as error:
        async with connect(target, Heard(), timeout=timeout):
            pass
    return error.value
