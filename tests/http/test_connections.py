"""How long connections may be idle, how many there may be, and who makes room."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from math import inf
from typing import Any

import pytest

from gateway.daemon.listener import Address, Listener, PublicServer
from gateway.http import connection as connection_module
from gateway.http import descriptors
from gateway.http.connection import HttpConnection
from gateway.http.request import Request
from gateway.limits import Limits
from tests.deadline import deadline, until
from tests.engineio.echo_server import WEBSOCKET, Server, connected

OPEN = "GET /engine.io/?EIO=4&transport=polling HTTP/1.1\nHost: x\n\n"
NOWHERE = "GET /nowhere HTTP/1.1\nHost: x\n\n"
REFUSED = "GET /engine.io/?EIO=4&transport=polling&sid=none HTTP/1.1\nHost: x\n\n"
OPTIONS = "OPTIONS /engine.io/?EIO=4&transport=polling HTTP/1.1\nHost: x\n\n"
UNUSUAL = "GET /nowhere HTTP/1.1\nHost: x\nTE: trailers\n\n"
HALF = "GET /nowhere HTTP/1.1\nHo"

Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def answered(wire: Wire) -> bytes:
    """The head of the next answer; its body is read too."""
    reader, _ = wire
    async with deadline():
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
        await reader.readexactly(length)
    return head


@asynccontextmanager
async def opened(server: Server, *requests: str) -> AsyncIterator[list[Wire]]:
    """Connections in this order, each with its request answered; none is sent for ''."""
    async with AsyncExitStack() as stack:
        wires: list[Wire] = []
        for request in requests:
            wires.append(await stack.enter_async_context(connected(server.port, request)))
            if request.endswith("\n\n"):
                await answered(wires[-1])
            else:
                await until(lambda: len(server.http.connections) == len(wires))
        yield wires


async def is_over(wire: Wire) -> bool:
    """Wait for the end of a connection; false if something else comes first."""
    async with deadline():
        try:
            return await wire[0].read(1) == b""
        except ConnectionResetError:
            return True


@pytest.mark.parametrize("request_", [NOWHERE, REFUSED, OPTIONS, OPEN, UNUSUAL])
async def test_a_connection_ends_when_it_was_idle_for_too_long(request_: str) -> None:
    async with (
        Server(keepalive_timeout=0.1) as server,
        opened(server, request_) as (wire,),
    ):
        assert await is_over(wire)
        assert server.engine.limits_met.counts["request_timeout"] == 0
        await until(lambda: not server.http.connections)
        assert not server.http.idle


async def test_a_connection_in_use_does_not_end() -> None:
    """The one that was opened first is used again, so the other one ends before it."""
    async with (
        Server(keepalive_timeout=0.2) as server,
        opened(server, NOWHERE, NOWHERE) as (used, idle),
    ):
        over = asyncio.create_task(is_over(idle))
        while not over.done():
            used[1].write(NOWHERE.replace("\n", "\r\n").encode())
            assert (await answered(used)).startswith(b"HTTP/1.1 404")
            await asyncio.sleep(0.01)
        assert await over
        assert len(server.http.connections) == 1


async def test_half_a_head_behind_an_answer_is_bound_by_request_timeout() -> None:
    async with (
        Server(request_timeout=0.1, keepalive_timeout=inf) as server,
        connected(server.port, NOWHERE + HALF) as wire,
    ):
        assert (await answered(wire)).startswith(b"HTTP/1.1 404")
        assert await is_over(wire)
        assert server.engine.limits_met.counts["request_timeout"] == 1


async def test_half_a_head_behind_a_poll_has_its_time_from_the_answer_on() -> None:
    async with (
        Server(request_timeout=0.1, keepalive_timeout=inf, ping_interval=0.5) as server,
        connected(server.port, OPEN) as wire,
    ):
        await answered(wire)
        (sid,) = server.engine.sessions
        poll = OPEN.replace("polling", f"polling&sid={sid}")
        wire[1].write((poll + HALF).replace("\n", "\r\n").encode())
        assert (await answered(wire)).startswith(b"HTTP/1.1 200")
        assert await is_over(wire)
        assert server.engine.limits_met.counts["request_timeout"] == 1


async def test_a_reload_changes_the_time_of_connections_that_are_idle_already() -> None:
    async with Server(keepalive_timeout=3600.0) as server, opened(server, NOWHERE) as (wire,):
        limits = replace(server.engine.limits, keepalive_timeout=0.01)
        server.engine.configure(server.engine.settings, limits)
        assert await is_over(wire)


async def test_the_one_that_was_idle_longest_makes_room() -> None:
    async with (
        Server(connections=3) as server,
        opened(server, NOWHERE, NOWHERE, NOWHERE) as (first, second, third),
    ):
        first[1].write(NOWHERE.replace("\n", "\r\n").encode())
        await answered(first)  # which leaves the second the longest idle
        async with opened(server, NOWHERE):
            assert await is_over(second)
            async with opened(server, NOWHERE):
                assert await is_over(third)
                assert len(server.http.connections) == 3
        assert server.engine.limits_met.counts["connections"] == 2


async def test_a_new_one_is_closed_at_once_if_none_is_idle(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A WebSocket, a poll and half a head are not idle."""
    caplog.set_level(logging.INFO)
    async with (
        Server(connections=3, keepalive_timeout=inf, request_timeout=inf) as server,
        connected(server.port, WEBSOCKET),
        connected(server.port, HALF),
        connected(server.port, OPEN) as polling,
    ):
        await answered(polling)
        sid = next(sid for sid, each in server.engine.sessions.items() if each.polling is not None)
        polling[1].write(
            OPEN.replace("polling", f"polling&sid={sid}").replace("\n", "\r\n").encode()
        )
        await server.polled(sid)
        await until(lambda: server.engine.connections == 3 and not server.http.idle)
        for number in (1, 2):
            async with connected(server.port, NOWHERE) as wire:
                assert await is_over(wire)
            assert server.engine.limits_met.counts["connections"] == number
        assert server.engine.connections == 3
    assert (
        "limit connections by 127.0.0.1: a new connection was closed: none is idle: "
        "to allow it, raise limits.connections"
    ) in caplog.messages


async def test_a_connection_that_is_over_gives_its_place_back() -> None:
    async with Server(connections=1, keepalive_timeout=inf) as server:
        for request in (WEBSOCKET, HALF, NOWHERE, WEBSOCKET, HALF):
            async with connected(server.port, request) as (reader, _):
                if request.endswith("\n\n"):
                    await reader.readuntil(b"\r\n\r\n")
                else:
                    await until(lambda: server.engine.connections == 1)
            await until(lambda: server.engine.connections == 0)
        assert server.engine.limits_met.counts["connections"] == 0


async def test_descriptors_are_kept_for_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half heads hold all places there are."""
    soft = 72
    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _: (soft, soft))
    room = soft - descriptors.LEAST
    async with Server() as server, opened(server, *[HALF] * room) as wires:
        await until(lambda: not server.http.idle)
        async with connected(server.port, NOWHERE) as wire:
            assert await is_over(wire)
        assert len(server.http.connections) == room == len(wires)


@pytest.mark.parametrize(
    ("soft", "room"),
    [(256, 192), (1024, 896), (8192, 7168), (1_048_576, 1_047_552), (-1, inf)],
)
def test_the_reserve_is_an_eighth_within_bounds(
    monkeypatch: pytest.MonkeyPatch, soft: int, room: float
) -> None:
    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _: (soft, soft))
    assert descriptors.descriptors_for_connections() == room


@pytest.mark.parametrize(
    ("limits", "most"),
    [({}, 101_000), ({"sockets": 10}, 1020), ({"sockets": inf}, inf), ({"connections": 7}, 7)],
)
def test_by_default_there_are_two_connections_for_each_socket(
    limits: dict[str, Any], most: float
) -> None:
    assert Limits(**limits).most_connections == most


async def test_a_client_that_does_not_read_its_last_answer_is_dropped() -> None:
    """It waits in full: what its exchange is told comes only after it was read."""
    written: list[str] = []

    class Exchange:
        body_limit = 10

        def __init__(self, connection: HttpConnection) -> None:
            self._connection = connection

        def finish(self, body: bytes) -> None:
            large = b"x" * 20_000_000
            self._connection.answer(connection_module.Answer(200, body=large, closes=True))

        def too_large(self) -> None: ...

        def broken(self) -> None: ...

        def written(self) -> None:
            written.append("written")

        def lost(self) -> None:
            written.append("lost")

    def respond(_: Request, connection: HttpConnection) -> Exchange:
        return Exchange(connection)

    async with Server(keepalive_timeout=0.2) as server:
        server.http.routes = {"/large": respond}
        large = "GET /large HTTP/1.1\nHost: x\n\n"
        async with connected(server.port, large) as (reader, _):
            await until(lambda: written)  # nothing is read meanwhile
            assert written == ["lost"]
        written.clear()
        server.engine.configure(
            server.engine.settings, replace(server.engine.limits, keepalive_timeout=60.0)
        )
        async with connected(server.port, large) as (reader, _):
            await reader.readuntil(b"\r\n\r\n")
            assert written == []
            assert len(await reader.read()) == 20_000_000
            assert written == ["written"]


async def test_an_exception_instead_of_an_answer_is_a_500(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def respond(request: Request, _: HttpConnection) -> None:
        raise RuntimeError(request.path)

    async with Server() as server:
        server.http.routes = {"/fails": respond}
        server.engine.faults._clock = lambda: 0.0  # all in one second
        for _ in range(3):
            async with connected(server.port, "GET /fails HTTP/1.1\nHost: x\n\n") as wire:
                head = await answered(wire)
                assert head.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
                assert b"\r\nConnection: close\r\n" in head
                assert await is_over(wire)
        assert server.engine.faults.counts == {"request": 3}
    (record,) = caplog.records
    assert record.getMessage() == "fault request by 127.0.0.1: it was not answered"
    assert record.exc_info is not None
    assert record.exc_info[0] is RuntimeError


async def test_an_exception_while_a_body_is_taken_is_a_500_and_the_session_ends(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Server() as server, connected(server.port, OPEN) as wire:
        await answered(wire)
        (sid,) = server.engine.sessions

        def fail(*_: object) -> None:
            raise RuntimeError

        monkeypatch.setattr("gateway.engineio.polling.decode_payload", fail)
        post = f"POST /engine.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\nHost: x\n"
        wire[1].write(f"{post}Content-Length: 2\n\n".replace("\n", "\r\n").encode())
        await server.posted()
        wire[1].write(b"4a")
        assert (await answered(wire)).startswith(b"HTTP/1.1 500")
        assert await server.reason(sid) == "transport error"
        assert server.engine.faults.counts == {"request": 1}
    assert len(caplog.records) == 1


async def test_handshakes_under_way_count() -> None:
    """Two that never begin theirs fill the server; their places come back when they give up."""
    from tests.certificates import presented
    from tests.daemon.test_listener import address

    async with Server(connections=2) as server:
        listener = Listener(PublicServer(server.http))
        where: Address = address(0, "one")
        await listener.serve(listener.bind(where))
        port = int(listener.url.rpartition(":")[2])
        async with connected(port, ""), connected(port, ""):
            await until(lambda: server.engine.connections == 2)
            async with connected(port, "") as third:
                assert await is_over(third)
            assert server.engine.limits_met.counts["connections"] == 1
        await until(lambda: server.engine.connections == 0)
        async with connected(port, "no TLS\n") as garbage:
            await garbage[0].read()
        await until(lambda: server.engine.connections == 0)
        assert await presented(listener.url)
        await until(lambda: server.engine.connections == 0)
        await listener.close()
