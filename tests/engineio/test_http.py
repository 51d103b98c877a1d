"""HTTP byte by byte: how the requests of polling clients may come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.engineio.conftest import LONG
from tests.engineio.echo_server import UNKNOWN_SESSION, Server, Wire, connected

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def pings() -> dict[str, float]:
    return LONG


@pytest.fixture
async def path(wire: Wire) -> str:
    """That of a session on polling."""
    await wire.open()
    return f"/engine.io/?EIO=4&transport=polling&sid={wire.sid}"


@pytest.fixture
async def connection(server: Server) -> AsyncIterator[Connection]:
    async with connected(server.port, "") as connection:
        yield connection


def get(target: str, version: str = "1.1", headers: str = "") -> bytes:
    return f"GET {target} HTTP/{version}\nHost: x\n{headers}\n".replace("\n", "\r\n").encode()


def post(target: str, body: bytes, headers: str = "") -> bytes:
    head = f"POST {target} HTTP/1.1\nHost: x\nContent-Length: {len(body)}\n{headers}\n"
    return head.replace("\n", "\r\n").encode() + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], str]:
    """The status, headers in lower case, and the body, as long as it is said to be."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")[:-2]
    headers = dict(line.split(": ", 1) for line in lines[1:])
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return int(lines[0].split()[1]), headers, body.decode()


async def test_many_requests_on_one_connection(connection: Connection, path: str) -> None:
    reader, writer = connection
    for number in range(100):
        writer.write(post(path, b"4%d" % number))
        assert (await answer(reader))[::2] == (200, "ok")
        writer.write(get(path))
        assert (await answer(reader))[::2] == (200, f"4{number}")


async def test_requests_that_come_in_one_segment_are_answered_in_order(
    connection: Connection, path: str
) -> None:
    reader, writer = connection
    writer.write(post(path, b"4a") + get(path) + post(path, b"4b\x1e4c") + get(path))
    assert [(await answer(reader))[2] for _ in range(4)] == ["ok", "4a", "ok", "4b\x1e4c"]


async def test_many_requests_behind_a_poll_wait_unread(
    server: Server, wire: Wire, path: str, connection: Connection
) -> None:
    reader, writer = connection
    number = 2000
    writer.write(get(path) + get("/none") * number)
    await server.polled(wire.sid)
    (waiting,) = [each for each in server.http.connections if each._request is not None]
    assert waiting._events is not None
    assert len(waiting._events) < number
    await wire.post("4hello")
    assert (await answer(reader))[::2] == (200, "4hello")
    for _ in range(number):
        assert (await answer(reader))[0] == 404


async def test_requests_that_come_a_byte_at_a_time(connection: Connection, path: str) -> None:
    reader, writer = connection
    for byte in post(path, "4é€".encode()) + get(path):
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    assert (await answer(reader))[::2] == (200, "ok")
    assert (await answer(reader))[::2] == (200, "4é€")


async def test_poll_that_waits_on_a_connection_is_answered_on_it(
    server: Server, connection: Connection, wire: Wire, path: str
) -> None:
    reader, writer = connection
    for _ in range(3):
        writer.write(get(path))
        await server.polled(wire.sid)
        await wire.post("4hello")
        assert (await answer(reader))[::2] == (200, "4hello")


@pytest.mark.parametrize(
    ("version", "headers"), [("1.1", "Connection: close\n"), ("1.0", "")], ids=["close", "1.0"]
)
async def test_connection_is_closed_for_who_asks_for_that(
    wire: Wire, connection: Connection, path: str, version: str, headers: str
) -> None:
    reader, writer = connection
    await wire.post("4hello")
    writer.write(get(path, version, headers))
    assert (await answer(reader))[::2] == (200, "4hello")
    assert await reader.read() == b""
    await wire.post("4still there")
    assert await wire.receive() == ["4still there"]


async def test_body_that_waits_for_leave_is_given_it(connection: Connection, path: str) -> None:
    reader, writer = connection
    head, body = post(path, b"4hello", "Expect: 100-continue\n"), b"4hello"
    writer.write(head.removesuffix(body))
    assert (await answer(reader))[0] == 100
    writer.write(body)
    assert (await answer(reader))[::2] == (200, "ok")


async def test_what_is_expected_in_vain_is_refused_and_the_session_stays(
    connection: Connection, wire: Wire, path: str
) -> None:
    reader, writer = connection
    writer.write(post(path, b"4hello", "Expect: a miracle\n"))
    assert (await answer(reader))[0] == 417
    await wire.post("4still there")
    assert await wire.receive() == ["4still there"]


@pytest.mark.parametrize(
    "target",
    [
        "http://elsewhere{path}",
        "{path}&t=PabcDEF.0",
        "{path}&x=%41&y&=&z=1;2",
        "{path}#fragment",
        "/engine.io/?t=1&sid={sid}&transport=polling&EIO=4",
        "/engine.io/?EIO=%34&transport=poll%69ng&sid={sid}",
        "/engine.io/?EIO=4&EIO=3&transport=polling&transport=x&sid={sid}&sid=x",
        "/%65ngine.io/?EIO=4&transport=polling&sid={sid}",
    ],
)
async def test_target_may_be_written_in_many_ways(
    connection: Connection, wire: Wire, path: str, target: str
) -> None:
    reader, writer = connection
    where = target.format(path=path, sid=wire.sid)
    writer.write(post(where, b"4hello") + get(where))
    assert (await answer(reader))[::2] == (200, "ok")
    assert (await answer(reader))[::2] == (200, "4hello")


@pytest.mark.parametrize(
    "target", ["/engine.iox", "/engine.io//", "/engine.io/x", "/", "/socket.io/", "/ENGINE.IO/"]
)
async def test_other_paths_are_not_the_engines(
    server: Server, connection: Connection, target: str
) -> None:
    reader, writer = connection
    writer.write(get(f"{target}?EIO=4&transport=polling"))
    assert (await answer(reader))[0] == 404
    assert server.engine.sessions == {}


@pytest.mark.parametrize("kind", ["content-type", "CONTENT-TYPE", "Content-Type"])
async def test_answers_say_what_they_are_in_whatever_case_it_is_asked(
    connection: Connection, path: str, kind: str
) -> None:
    reader, writer = connection
    writer.write(post(path, b"4hello", f"{kind}: text/plain;charset=UTF-8\n") + get(path))
    (_, ok, _), (_, poll, _) = [await answer(reader) for _ in range(2)]
    assert (ok["content-type"], poll["content-type"]) == (
        "text/html",
        "text/plain; charset=utf-8",
    )
    assert {"no-store"} == {ok["cache-control"], poll["cache-control"]}
    assert "transfer-encoding" not in ok | poll


async def test_half_a_request_takes_nothing_with_it(server: Server, wire: Wire, path: str) -> None:
    async with connected(server.port, "") as (_, writer):
        writer.write(get(path)[:-2])
        await writer.drain()
    await wire.post("4hello")
    assert await wire.receive() == ["4hello"]


async def test_body_that_is_cut_short_ends_the_session(
    server: Server, wire: Wire, path: str
) -> None:
    async with connected(server.port, "") as (_, writer):
        writer.write(post(path, b"4hello")[:-1])
        await server.posted()
    assert await server.reason(wire.sid) == "transport error"
    assert server.received == []
    assert (await wire.poll()).body == UNKNOWN_SESSION
