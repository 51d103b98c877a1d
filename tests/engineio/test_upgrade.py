"""From HTTP long-polling to a WebSocket, over a real connection.

https://github.com/socketio/socket.io/blob/main/docs/engine.io-protocol/v4-current.md#upgrade
"""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import AsyncIterator

import aiohttp
import pytest

from gateway.engineio.packet import Packet
from gateway.engineio.session import Session
from tests.engineio.conftest import LONG
from tests.engineio.echo import say
from tests.engineio.echo_server import BAD_REQUEST, Server, Stream, Wire


@pytest.fixture
async def stream(wire: Wire) -> AsyncIterator[Stream]:
    """A WebSocket with the id of a session on polling."""
    await wire.open()
    async with wire.stream() as stream:
        yield stream


async def test_session_goes_on_on_the_websocket(wire: Wire, stream: Stream) -> None:
    await stream.send("2probe")
    assert await stream.receive() == "3probe"
    assert await wire.receive() == ["6"]
    await stream.send("5", "4hello", b"\x01\x02")
    assert await stream.receive() == "4hello"
    assert await stream.receive() == b"\x01\x02"


async def test_probe_ends_the_poll_that_waits(server: Server, wire: Wire, stream: Stream) -> None:
    async with wire.waiting_poll(server) as poll:
        await stream.send("2probe")
        assert await stream.receive() == "3probe"
        assert (await poll).packets == ["6"]


async def test_polling_goes_on_until_the_probe(server: Server, wire: Wire, stream: Stream) -> None:
    """A WebSocket that is open is not yet one that works."""
    async with wire.waiting_poll(server) as poll:
        await wire.post("4hello")
        assert (await poll).packets == ["4hello"]


async def test_polling_goes_on_until_the_upgrade_is_complete(wire: Wire, stream: Stream) -> None:
    await stream.send("2probe")
    assert await stream.receive() == "3probe"
    await wire.post("4hello")
    assert await wire.receive() == ["4hello"]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_http_is_refused_once_upgraded(wire: Wire, stream: Stream, method: str) -> None:
    await stream.upgrade()
    answer = await wire.request(method, "4lost" if method == "POST" else None)
    assert (answer.status, answer.body) == (400, BAD_REQUEST)
    await stream.send("4hello")
    assert await stream.receive() == "4hello"


@pytest.mark.parametrize("upgraded", [False, True])
async def test_second_websocket_is_accepted_and_closed(
    wire: Wire, stream: Stream, upgraded: bool
) -> None:
    if upgraded:
        await stream.upgrade()
    async with wire.stream() as second:
        assert await second.frame() is None
        assert second.close_code == 1000
    if not upgraded:
        await stream.upgrade()
    await stream.send("4hello")
    assert await stream.receive() == "4hello"


async def test_websocket_with_the_id_of_a_session_on_websocket_is_closed(wire: Wire) -> None:
    async with wire.streaming() as stream:
        async with wire.stream(sid=stream.sid) as second:
            assert await second.frame() is None
        await stream.send("4hello")
        assert await stream.receive() == "4hello"


@pytest.mark.parametrize("after_probe", [False, True])
async def test_websocket_that_dies_leaves_the_session_alone(
    server: Server, wire: Wire, stream: Stream, after_probe: bool
) -> None:
    if after_probe:
        await stream.send("2probe")
        assert await stream.receive() == "3probe"
    await stream.socket.close()
    await wire.post("4hello")
    assert await wire.receive() == ["4hello"]
    assert server.session(wire.sid).transport == "polling"


@pytest.mark.parametrize("packet", ["4hello", "5", "2", "abc", b"2probe"])
async def test_anything_but_the_probe_closes_the_websocket_alone(
    wire: Wire, stream: Stream, packet: Packet
) -> None:
    await stream.send(packet)
    assert await stream.receive() is None
    await wire.post("4hello")
    assert await wire.receive() == ["4hello"]


@pytest.mark.parametrize("after_probe", [False, True])
async def test_upgrade_that_is_never_completed_is_given_up(
    http: aiohttp.ClientSession, after_probe: bool
) -> None:
    async with Server(**LONG, upgrade_timeout=0.1) as server:
        wire = await Wire(server.port, http).open()
        async with wire.stream() as stream:
            if after_probe:
                await stream.send("2probe")
                assert await stream.frame() == "3probe"
            assert await stream.frame() is None
            await wire.post("4hello")
            assert await wire.receive() == ["4hello"]


async def test_close_during_an_upgrade_is_heard_on_either_transport(
    server: Server, wire: Wire, stream: Stream
) -> None:
    await stream.send("2probe")
    assert await stream.receive() == "3probe"
    server.session(wire.sid).close()
    assert (await wire.poll()).packets[-1] == "1"
    assert await stream.receive() is None
    assert await server.reason(wire.sid) == "server disconnect"


async def test_no_packet_is_lost_or_moved_by_an_upgrade(server: Server, wire: Wire) -> None:
    """As a client does it: it polls until it has the pong, lets that poll end, then upgrades."""
    await wire.open()
    session = server.session(wire.sid)
    talking = asyncio.create_task(talk(session))
    pong = asyncio.Event()
    polling = asyncio.create_task(poll_until(pong, wire))
    async with wire.stream() as stream:
        for _ in range(20):
            await wire.post("4x")
        await stream.send("2probe")
        assert await stream.receive() == "3probe"
        pong.set()
        by_polling = await polling
        await stream.send("5")
        by_websocket = [await stream.receive() for _ in range(200)]
        talking.cancel()
    packets = [packet for packet in by_polling + by_websocket if packet not in {"4x", "6"}]
    assert len(by_polling) > 20
    assert packets == [numbered(n) for n in range(len(packets))]


def numbered(n: int) -> Packet:
    return f"4{n}" if n % 5 else b"%d" % n


async def talk(session: Session) -> None:
    """Send numbers for ever, a few in every turn of the loop."""
    for n in itertools.count():
        packet = numbered(n)
        say(session, packet[1:] if isinstance(packet, str) else packet)
        if n % 3 == 0:
            await asyncio.sleep(0.001)


async def poll_until(pong: asyncio.Event, wire: Wire) -> list[Packet]:
    packets: list[Packet] = []
    while not pong.is_set():
        for packet in await wire.receive():
            binary = packet.startswith("b")
            packets.append(base64.b64decode(packet[1:]) if binary else packet)
    return packets


async def test_client_may_upgrade_while_it_sends(server: Server, wire: Wire) -> None:
    await wire.open()
    for n in range(20):
        assert (await wire.post(f"4{n}")).body == "ok"
    async with wire.stream() as stream:
        await stream.send("2probe")
        assert await stream.receive() == "3probe"
        for n in range(20, 40):
            assert (await wire.post(f"4{n}")).body == "ok"
        await stream.send("5", *(f"4{n}" for n in range(40, 60)))
        await server.news.until(lambda: len(server.received) == 60)
    assert server.received == [str(n) for n in range(60)]
