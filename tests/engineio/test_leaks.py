"""Every way to end a session gives back every task, timer, table entry and descriptor.

F9: so does garbage that is posted. SOCKGW_SESSIONS=1000 ends that many in each way.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from gateway.engineio.session import Session
from tests.deadline import DEADLINE
from tests.engineio.conftest import HASTY, LONG
from tests.engineio.echo import say
from tests.engineio.echo_server import Server, Wire

NUMBER = int(os.environ.get("SOCKGW_SESSIONS", "200"))
AT_ONCE = 50

pytestmark = pytest.mark.timeout(300 + NUMBER)


@dataclass(frozen=True, slots=True)
class Counts:
    """What there is in this process, and in the engine."""

    tasks: int
    timers: int
    descriptors: int
    sessions: int
    entries: tuple[int, ...]

    @classmethod
    def now(cls, server: Server) -> Counts:
        gc.collect()
        server.http.review()  # its timer may outlast the connections
        loop: Any = asyncio.get_running_loop()
        engine = server.engine
        return cls(
            tasks=len(asyncio.all_tasks()),
            timers=sum(not timer.cancelled() for timer in loop._scheduled),
            descriptors=len(os.listdir("/proc/self/fd")),
            sessions=sum(isinstance(thing, Session) for thing in gc.get_objects()),
            entries=(
                len(engine.sessions),
                len(engine.websockets),
                *map(len, engine.deadlines._queues.values()),
            ),
        )


@asynccontextmanager
async def nothing_left(server: Server) -> AsyncIterator[None]:
    """What there was before is what there is soon after."""
    before = Counts.now(server)
    yield
    end = time.monotonic() + DEADLINE  # a time-out of the loop's would be a timer too many
    while Counts.now(server) != before and time.monotonic() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    assert Counts.now(server) == before


async def client_closes_polling(server: Server, wire: Wire) -> None:
    await (await wire.open()).post("1")


async def poll_is_cancelled(server: Server, wire: Wire) -> None:
    await wire.open()
    async with wire.waiting_poll(server):
        pass


async def client_vanishes(server: Server, wire: Wire) -> None:
    await wire.open()


async def poll_outlasts_the_pings(server: Server, wire: Wire) -> None:
    await wire.open()
    while (await wire.poll()).status == 200:
        pass


async def garbage_is_posted(server: Server, wire: Wire) -> None:
    await (await wire.open()).post("2probe")


async def body_never_ends(server: Server, wire: Wire) -> None:
    await wire.open()

    async def endless() -> AsyncIterator[bytes]:
        yield b"4"
        await asyncio.Event().wait()

    with pytest.raises((aiohttp.ClientError, AssertionError)):
        assert (await wire.post(endless())).status == 200


async def server_closes_polling(server: Server, wire: Wire) -> None:
    await wire.open()
    server.session(wire.sid).close()


async def websocket_is_closed(server: Server, wire: Wire) -> None:
    async with wire.streaming():
        pass


async def websocket_is_aborted(server: Server, wire: Wire) -> None:
    async with wire.streaming() as stream:
        stream.socket._conn.transport.abort()


async def websocket_is_silent(server: Server, wire: Wire) -> None:
    async with wire.streaming() as stream:
        while await stream.frame() is not None:
            pass


async def websocket_never_reads(server: Server, wire: Wire) -> None:
    async with wire.streaming() as stream:
        transport = stream.socket._conn.transport
        transport.pause_reading()
        if session := server.engine.sessions.get(stream.sid):
            say(session, b"x" * 5_000_000)
        await server.reason(stream.sid)
        transport.abort()


async def client_closes_a_websocket(server: Server, wire: Wire) -> None:
    async with wire.streaming() as stream:
        await stream.send("1")
        assert await stream.receive() is None


async def server_closes_a_websocket(server: Server, wire: Wire) -> None:
    async with wire.streaming() as stream:
        server.session(stream.sid).close()
        assert await stream.receive() is None


async def garbage_is_sent(server: Server, wire: Wire) -> None:
    async with wire.streaming() as stream:
        await stream.send("2probe")
        assert await stream.receive() is None


async def upgrade_is_abandoned(server: Server, wire: Wire) -> None:
    await wire.open()
    async with wire.stream() as stream:
        await stream.send("2probe")
        while await stream.frame() is not None:
            pass
    await wire.post("1")


async def upgraded_session_is_aborted(server: Server, wire: Wire) -> None:
    await wire.open()
    async with wire.stream() as stream:
        await stream.upgrade()
        stream.socket._conn.transport.abort()


async def handshake_is_abandoned(server: Server, wire: Wire) -> None:
    async with wire.raw("GET", ""):
        pass


Way = Callable[[Server, Wire], Awaitable[None]]

WAYS: list[Way] = [
    client_closes_polling,
    client_vanishes,
    poll_is_cancelled,
    poll_outlasts_the_pings,
    garbage_is_posted,
    body_never_ends,
    server_closes_polling,
    websocket_is_closed,
    websocket_is_aborted,
    websocket_is_silent,
    websocket_never_reads,
    client_closes_a_websocket,
    server_closes_a_websocket,
    garbage_is_sent,
    upgrade_is_abandoned,
    upgraded_session_is_aborted,
    handshake_is_abandoned,
]


PATIENT = {"ping_interval": 60.0, "ping_timeout": 3.0}
"""No ping while a client does something, however busy the machine is."""

LEFT_ALONE = [
    client_vanishes,
    poll_outlasts_the_pings,
    body_never_ends,
    websocket_is_silent,
    websocket_never_reads,
    handshake_is_abandoned,
]
"""Those whose sessions end when nobody has answered a ping; no other has to be as quick."""


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_sessions_leave_nothing_behind(way: Way) -> None:
    pings = HASTY if way in LEFT_ALONE else PATIENT
    async with Server(**pings, upgrade_timeout=0.2) as server, nothing_left(server):
        await end_all(server, way)


async def end_all(server: Server, way: Way) -> None:
    """End the sessions of clients that each have connections of their own."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def end_one() -> None:
        async with turns, aiohttp.ClientSession() as http:
            await way(server, Wire(server.port, http))

    await asyncio.gather(*(end_one() for _ in range(NUMBER)))


async def test_shutdown_leaves_nothing_behind() -> None:
    """With sessions in every state."""
    async with (
        Server(**LONG) as server,
        nothing_left(server),
        aiohttp.ClientSession() as http,
    ):
        wires = [await Wire(server.port, http).open() for _ in range(30)]
        polls = [asyncio.create_task(wire.poll()) for wire in wires[:10]]
        async with (
            wires[10].stream() as probing,
            wires[11].stream() as upgraded,
            wires[12].streaming() as streaming,
        ):
            await probing.send("2probe")
            await upgraded.upgrade()
            for wire in wires[:10]:
                await server.polled(wire.sid)
            await server.engine.shutdown()
            for stream in (probing, upgraded, streaming):
                while await stream.frame() is not None:
                    pass
        assert {(await poll).body for poll in polls} == {"1"}
