"""Requests for WebSockets are answered alike, whoever reads them: by us or by aiohttp."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from gateway.engineio.connection import Runner
from tests.deadline import deadline
from tests.engineio.conftest import LONG
from tests.engineio.wire import WEBSOCKET, Server
from tests.hostile.line import BINARY, frame

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
TARGET = "/engine.io/?EIO=4&transport=websocket"
HEADERS = ("Host: h", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", KEY)
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def both() -> AsyncIterator[tuple[Server, Server]]:
    """A server that aiohttp reads for, and one that reads for itself."""
    options: dict[str, Any] = {**LONG, "compression": True, "cors_origins": ("http://a",)}
    async with Server(web.AppRunner, **options) as one, Server(Runner, **options) as other:
        yield one, other


async def answer(port: int, request: str) -> str:
    """What a request is answered, with the first frame of a WebSocket; ids and dates left out."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with deadline():
            writer.write(request.encode("latin-1"))
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            if head.startswith("HTTP/1.1 101"):
                _, length = await reader.readexactly(2)
            else:
                found = re.search(r"Content-Length: (\d+)", head)
                length = int(found[1]) if found else 0
            body = (await reader.readexactly(length)).decode()
    finally:
        writer.transport.abort()
    return re.sub(r'Date: [^\r]+|"sid":"[^"]+"', "", head + body)


def request(headers: Sequence[str], target: str = TARGET, method: str = "GET") -> str:
    return "\r\n".join([f"{method} {target} HTTP/1.1", *headers, "", ""])


def changed(old: str, new: str) -> tuple[str, ...]:
    return tuple(new if header == old else header for header in HEADERS)


REQUESTS = {
    "plain": request(HEADERS),
    "names in capitals": request([header.upper() for header in HEADERS[:4]] + [KEY]),
    "a connection that is kept": request(changed(HEADERS[1], "Connection: keep-alive, Upgrade")),
    "deflate": request([*HEADERS, DEFLATE]),
    "deflate with a window": request([*HEADERS, f"{DEFLATE}; server_max_window_bits=10"]),
    "deflate on its own": request([*HEADERS, f"{DEFLATE}; server_no_context_takeover"]),
    "deflate with a window too small": request([*HEADERS, f"{DEFLATE}; server_max_window_bits=8"]),
    "its origin": request([*HEADERS, "Origin: http://a"]),
    "another origin": request([*HEADERS, "Origin: http://b"]),
    "a subprotocol": request([*HEADERS, "Sec-WebSocket-Protocol: chat"]),
    "an old version": request(changed(HEADERS[3], "Sec-WebSocket-Version: 8")),
    "a wrong version": request(changed(HEADERS[3], "Sec-WebSocket-Version: 12")),
    "a wrong key": request(changed(KEY, "Sec-WebSocket-Key: x")),
    "no key": request(HEADERS[:-1]),
    "another upgrade": request(changed(HEADERS[2], "Upgrade: h2c")),
    "no upgrade": request(changed(HEADERS[2], "X: y")),
    "another method": request(HEADERS, method="POST"),
    "no version": request(HEADERS, "/engine.io/?transport=websocket"),
    "another transport": request(HEADERS, "/engine.io/?EIO=4&transport=x"),
    "polling": request(HEADERS, "/engine.io/?EIO=4&transport=polling"),
    "an unknown session": request(HEADERS, f"{TARGET}&sid=x"),
    "another path": request(HEADERS, "/other/?EIO=4&transport=websocket"),
}


@pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS)
async def test_an_answer_is_the_same_whoever_has_read_its_request(
    both: tuple[Server, Server], asked: str
) -> None:
    one, other = [await answer(server.port, asked) for server in both]
    assert one == other


@pytest.mark.parametrize(
    "name", ["plain", "deflate", "deflate with a window", "deflate on its own"]
)
async def test_an_answer_is_what_aiohttp_itself_would_give(
    both: tuple[Server, Server], name: str
) -> None:
    async def handle(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        websocket.headers["Vary"] = "Origin"
        await websocket.prepare(request)
        await websocket.send_str("")
        return websocket

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        stock = await answer(runner.addresses[0][1], REQUESTS[name])
    finally:
        await runner.cleanup()
    ours = await answer(both[1].port, REQUESTS[name])
    assert ours.partition("\r\n\r\n")[0] == stock.partition("\r\n\r\n")[0]


VALUES = {
    "Host": ["h", "h:80"],
    "Connection": ["Upgrade", "keep-alive", "close", "keep-alive, upgrade", "upgrade, close", ""],
    "Upgrade": ["websocket", "WebSocket", "h2c", "websocket, h2c", ""],
    "Sec-WebSocket-Version": ["13", "8", "14", "x"],
    "Sec-WebSocket-Key": ["dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZR==", "dGhl", ""],
    "Sec-WebSocket-Extensions": ["permessage-deflate", "x", "x, permessage-deflate; a=b"],
    "Origin": ["http://a", "http://b", "null"],
    "Content-Length": ["0"],
    "X-Any": ["", "a b", "\t", "a\tb", "\xe9"],
}
header = some.sampled_from(sorted(VALUES)).flatmap(
    lambda name: some.tuples(some.just(name), some.sampled_from(VALUES[name]))
)
requests = some.builds(
    lambda changes, case, target: request(
        [
            f"{getattr(name, case)()}: {value}"
            for name, value in (dict(line.split(": ", 1) for line in HEADERS) | changes).items()
        ],
        target,
    ),
    some.lists(header, max_size=3).map(dict),
    some.sampled_from(["title", "lower", "upper"]),
    some.sampled_from([TARGET] * 5 + ["/engine.io/?EIO=3&transport=websocket", f"{TARGET}&a=%20"]),
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(asked=requests)
async def test_any_request_is_answered_the_same(both: tuple[Server, Server], asked: str) -> None:
    one, other = [await answer(server.port, asked) for server in both]
    assert one == other


async def test_frames_right_behind_a_request_are_heard(both: tuple[Server, Server]) -> None:
    for server in both:
        server.received.clear()
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        asked = WEBSOCKET.replace("\n", "\r\n").encode()
        writer.write(asked + frame(b"4behind") + frame(b"it", BINARY))
        await server.news.until(lambda: len(server.received) == 2)  # noqa: B023
        assert server.received == ["behind", b"it"]
        writer.close()


async def test_a_plain_request_does_not_get_to_aiohttp(both: tuple[Server, Server]) -> None:
    for server, count in zip(both, (1, 0), strict=True):
        assert server._runner.server is not None
        before = server._runner.server.requests_count
        assert (await answer(server.port, request(HEADERS))).startswith("HTTP/1.1 101")
        assert server._runner.server.requests_count - before == count
        await server.unconnected()
        assert not getattr(server._runner.server, "lines", None)
