"""The JavaScript harness itself, against a stock server."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
import socketio

from tests.deadline import DEADLINE
from tests.js.install import HERE, INSTALLED, NODE, install
from tests.js_client import JsDriver
from tests.ports import free_port


class Server:
    """A stock server that echoes, and refuses who has no business in `/members`."""

    def __init__(self) -> None:
        self.sio = socketio.AsyncServer(
            async_mode="aiohttp", monitor_clients=False, namespaces=["/", "/members"]
        )
        self.sio.on("connect", self._member, namespace="/members")
        for namespace in ("/", "/members"):
            self.sio.on("*", self._echo, namespace=namespace)

    async def _member(self, sid: str, environ: object, auth: dict[str, str] | None) -> None:
        if auth != {"token": "secret"}:
            raise socketio.exceptions.ConnectionRefusedError("log in first", {"code": 7})

    async def _echo(self, event: str, sid: str, *args: Any) -> tuple[Any, ...]:
        await self.sio.emit("echo", (event, *args), to=sid)
        return args


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def url(server: Server, serve: Any) -> AsyncIterator[str]:
    async with serve(server.sio) as address:
        yield address


@pytest.mark.parametrize("version", [4, 3])
@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_an_event_and_its_ack_go_there_and_back(
    js: JsDriver, url: str, version: Any, transport: str
) -> None:
    client = await js.connect(url, version=version, transports=[transport])
    assert client.transport == transport
    assert client.id

    assert await client.call("sum", 1, {"a": [None, "é"]}) == [1, {"a": [None, "é"]}]
    assert await client.receive("echo") == ["sum", 1, {"a": [None, "é"]}]


@pytest.mark.parametrize("version", [4, 3])
async def test_binary_is_bytes_both_ways(js: JsDriver, url: str, version: Any) -> None:
    client = await js.connect(url, version=version)
    assert await client.call("upload", b"\x00\xff", {"deep": [b""]}) == [
        b"\x00\xff",
        {"deep": [b""]},
    ]


async def test_a_message_longer_than_a_stream_reader_takes_arrives_whole(
    js: JsDriver, url: str
) -> None:
    client = await js.connect(url, transports=["websocket"])
    assert await client.call("long", "x" * 300_000) == ["x" * 300_000]


async def test_an_upgrade_is_reported(js: JsDriver, url: str) -> None:
    client = await js.connect(url)
    assert await client.receive("upgrade") == [{"transport": "websocket"}]


async def test_a_namespace_is_entered_with_its_auth(js: JsDriver, url: str) -> None:
    client = await js.connect(url, namespace="/members", auth={"token": "secret"})
    assert await client.call("hello") == []


async def test_two_namespaces_can_share_a_connection(
    js: JsDriver, url: str, server: Server
) -> None:
    first = await js.connect(url, forceNew=False)
    second = await js.connect(url, namespace="/members", auth={"token": "secret"}, forceNew=False)
    assert first.id != second.id
    assert len(server.sio.eio.sockets) == 1


async def test_a_refusal_arrives_with_message_and_data(js: JsDriver, url: str) -> None:
    client = await js.client(url, namespace="/members")
    assert await client.receive("connect_error") == [
        {"message": "log in first", "data": {"code": 7}}
    ]


async def test_version_2_reports_that_the_server_does_not_speak_its_protocol(
    js: JsDriver, url: str
) -> None:
    client = await js.client(url, version=2, transports=["polling"], reconnection=False)
    assert await client.receive("connect_error") == [
        {"message": "xhr poll error", "description": 400}
    ]


async def test_everything_is_logged_in_the_order_it_happened(
    js: JsDriver, url: str, server: Server
) -> None:
    client = await js.connect(url, transports=["websocket"])
    await client.call("hello")
    await server.sio.disconnect(client.id)
    await client.receive("disconnect")

    assert [(report.event, report.args) for report in client.log[1:]] == [
        ("echo", ["hello"]),
        ("ack", []),
        ("engine_close", ["forced close"]),
        ("disconnect", ["io server disconnect"]),
    ]
    assert [await client.next() for _ in range(5)] == client.log


async def test_receive_returns_each_event_once_and_in_order(js: JsDriver, url: str) -> None:
    client = await js.connect(url)
    for number in range(3):
        await client.emit("count", number)
    assert [await client.receive("echo") for _ in range(3)] == [["count", n] for n in range(3)]


@pytest.mark.parametrize(
    ("acks", "answer"), [("echo", (1, b"\x01")), ({"with": ["yes", b"\x02"]}, ("yes", b"\x02"))]
)
async def test_the_server_gets_the_ack_that_was_ruled(
    js: JsDriver, url: str, server: Server, acks: Any, answer: tuple[Any, ...]
) -> None:
    client = await js.connect(url, acks=acks)
    assert await server.sio.call("ask", (1, b"\x01"), to=client.id, timeout=DEADLINE) == answer
    assert await client.receive("ask") == [1, b"\x01"]


async def test_no_ack_is_sent_unless_ruled(js: JsDriver, url: str, server: Server) -> None:
    client = await js.connect(url)
    answers: list[object] = []
    await server.sio.emit("ask", to=client.id, callback=lambda *args: answers.append(args))
    await client.receive("ask")
    await client.call("after")  # an ack of the client's would have come before this
    assert answers == []


async def test_a_client_disconnects_and_comes_back(js: JsDriver, url: str) -> None:
    client = await js.connect(url)
    first = client.id
    await client.disconnect()
    assert await client.receive("disconnect") == ["io client disconnect"]
    await client.connect()
    await client.receive("connect")
    assert client.id != first
    await client.close()
    assert await client.receive("disconnect") == ["io client disconnect"]


async def test_reconnecting_is_reported(js: JsDriver, server: Server, serve: Any) -> None:
    port = free_port()
    async with serve(server.sio, port) as url:
        client = await js.connect(
            url, transports=["websocket"], reconnectionDelay=10, reconnectionDelayMax=10
        )
    assert await client.receive("disconnect") == ["transport close"]
    assert await client.receive("reconnect_attempt") == [1]
    async with serve(Server().sio, port):
        await client.receive("connect")


async def test_the_clients_own_timeout_is_a_timeout_error(
    js: JsDriver, url: str, server: Server
) -> None:
    given_up = asyncio.Event()

    async def late(sid: str) -> None:
        await given_up.wait()

    server.sio.on("late", late)
    client = await js.connect(url)
    with pytest.raises(TimeoutError, match=r"^operation has timed out$"):
        await client.call("late", client_timeout=0.05)
    given_up.set()


async def test_msgpack_clients_speak_msgpack(js: JsDriver, serve: Any) -> None:
    sio = socketio.AsyncServer(async_mode="aiohttp", monitor_clients=False, serializer="msgpack")
    sio.on("echo", lambda sid, *args: args)
    async with serve(sio) as url:
        client = await js.connect(url, parser="msgpack")
        assert await client.call("echo", "text", b"\x00\x01", 1.5) == ["text", b"\x00\x01", 1.5]


async def test_waiting_in_vain_tells_what_happened_instead(js: JsDriver, url: str) -> None:
    client = await js.connect(url, transports=["websocket"])
    await client.call("hello", "you")
    with pytest.raises(AssertionError) as failure:
        await client.receive("res", timeout=0.01)
    first, *log = str(failure.value).splitlines()
    assert first == "no 'res' within 0.01 s; client 1 so far:"
    assert [line.split(maxsplit=1)[1] for line in log] == [
        (
            f"connect {{'id': '{client.id}', 'transport': 'websocket', "
            f"'extensions': '{client.extensions}'}}"
        ),
        "echo 'hello', 'you'",
        "ack 'you'",
    ]


async def test_a_fault_is_kept_and_ends_nothing(js: JsDriver, url: str) -> None:
    client = await js.connect(url)
    await js.send("emit", 99, event="nobody", args=[])
    assert await client.call("still there?") == []
    assert len(js.faults) == 1
    assert js.faults.pop().startswith("TypeError: Cannot read properties of undefined")


async def test_the_process_ends_with_the_driver(url: str, js_packages: None) -> None:
    async with JsDriver() as driver:
        await driver.connect(url)
        process = driver._process
    assert process.returncode == 0


def test_installing_again_does_nothing(js_packages: None) -> None:
    before = INSTALLED.stat().st_mtime_ns
    install()
    assert INSTALLED.stat().st_mtime_ns == before


def test_the_lock_names_no_registry() -> None:
    lock = json.loads((HERE / "package-lock.json").read_text())
    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []


async def test_the_quick_start_ends_after_three_answers(js_packages: None, serve: Any) -> None:
    sio = socketio.AsyncServer(async_mode="aiohttp", monitor_clients=False)

    async def chat(sid: str, text: str) -> None:
        for answer in ("auth", "packet", text):
            await sio.emit("res", answer, to=sid)

    sio.on("chat", chat)
    async with serve(sio) as url:
        status, out, err = await _quickstart(url, "websocket")
    assert (status, err) == (0, "")
    assert out.splitlines() == ["connect", "res auth", "res packet", "res hello world!"]


async def test_the_quick_start_fails_without_its_answers(
    js_packages: None, unused_tcp_port: int
) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    status, out, err = await _quickstart(url, "polling", "3")
    assert (status, out) == (1, "")
    *errors, last = err.splitlines()
    assert set(errors) <= {"connect_error: xhr poll error"}
    assert last == "only 0 of 3 answers within 3 s"


async def _quickstart(*args: str) -> tuple[int, str, str]:
    program = Path(HERE) / "quickstart.js"
    process = await asyncio.create_subprocess_exec(
        NODE, program, *args, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    return cast("int", process.returncode), out.decode(), err.decode()
