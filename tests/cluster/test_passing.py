"""Upgrades that reach another member than the one that has the session."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from gateway.cluster import passing, peer
from gateway.http.proxy_protocol import Announced
from gateway.runtime.tasks import new_event_loop
from tests.certificates import TLS
from tests.cluster.members import Member, RoundWire, members
from tests.deadline import deadline, until
from tests.engineio.echo import say
from tests.engineio.echo_server import Stream, connected

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": new_event_loop}


def upgrade(sid: str, *fields: str) -> str:
    more = "".join(f"{field}\n" for field in fields)
    return f"""\
GET /engine.io/?EIO=4&transport=websocket&sid={sid} HTTP/1.1
Host: x
Connection: Upgrade
Upgrade: websocket
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
{more}
"""


def masked(payload: bytes) -> bytes:
    """A text frame of a client, whose mask is zero."""
    assert len(payload) < 126
    return bytes([0x81, 0x80 | len(payload)]) + bytes(4) + payload


async def frame_of(reader: asyncio.StreamReader) -> bytes:
    """The next text frame of the server that is no ping."""
    while True:
        _, length = await reader.readexactly(2)
        if length == 126:
            length = int.from_bytes(await reader.readexactly(2))
        elif length == 127:
            length = int.from_bytes(await reader.readexactly(8))
        payload = await reader.readexactly(length)
        if payload != b"2":
            return payload


@asynccontextmanager
async def websocket(member: Member, sid: str, scheme: str = "http") -> AsyncIterator[Stream]:
    """A WebSocket of the session, asked for at a member."""
    url = f"{scheme}://127.0.0.1:{member.port}/engine.io/?EIO=4&transport=websocket&sid={sid}"
    async with aiohttp.ClientSession() as http, http.ws_connect(url, ssl=False) as socket:
        yield Stream(socket)


async def opened(owner: Member) -> str:
    async with aiohttp.ClientSession() as http:
        return (await RoundWire(http, owner).open()).sid


@asynccontextmanager
async def over_tls(member: Member) -> AsyncIterator[int]:
    """The port at which a member serves over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "one.pem", TLS / "one.key")
    site = await asyncio.get_running_loop().create_server(member.http, "127.0.0.1", 0, ssl=context)
    former, member.port = member.port, site.sockets[0].getsockname()[1]
    try:
        yield member.port
    finally:
        member.port = former
        site.close()


class TestPassed:
    async def test_an_upgrade_goes_to_the_owner(self, pair: list[Member]) -> None:
        owner, other = pair
        sid = await opened(owner)
        async with websocket(other, sid) as stream:
            await stream.upgrade()
            await stream.send("4hello", b"\x00\xff")
            assert await stream.receive() == "4hello"
            assert await stream.receive() == b"\x00\xff"
            assert other.counted == {"passed": 1}
            assert not other.http.connections
            assert other.engine.connections == 0
            assert owner.engine.connections == 1
        assert await owner.reason(sid) == "transport close"
        await until(lambda: owner.engine.connections == 0)

    async def test_polls_and_the_upgrade_go_round(self, http: aiohttp.ClientSession) -> None:
        async with members("aaaaa", "bbbbb", "ccccc") as all_of_them:
            owner, second, third = all_of_them
            wire = await RoundWire(http, *all_of_them).open()
            poll = asyncio.create_task(wire.poll())
            await owner.polled(wire.sid)
            async with websocket(third, wire.sid) as stream:
                await stream.send("2probe")
                assert await stream.frame() == "3probe"
                assert (await poll).packets == ["6"]
                say(owner.session(wire.sid), "between")
                await stream.send("5")
                assert await stream.receive() == "4between"
            assert second.counted == {"answered": 1}
            assert third.counted == {"passed": 1}

    @pytest.mark.parametrize("sent", [None, "4sent"])
    async def test_an_upgrade_outlives_the_member_that_forwarded_the_last_poll(
        self, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, sent: str | None
    ) -> None:
        """The client has read that poll, even if nobody is left to tell it."""
        async with members("aaaaa", "bbbbb", "ccccc") as (owner, second, third):
            wire = await RoundWire(http, owner).open()
            poll = asyncio.create_task(wire.at(second).poll())
            await owner.polled(wire.sid)
            monkeypatch.setattr(second.peer(owner), "send", lambda *frame: True)
            async with websocket(third, wire.sid) as stream:
                if sent:
                    say(owner.session(wire.sid), sent[1:])
                await stream.send("2probe")
                assert await stream.frame() == "3probe"
                assert (await poll).packets == [sent or "6"]
                if sent:
                    await stream.send("5")
                    await until(lambda: owner.session(wire.sid).transport == "websocket")
                second.mesh.close()
                await until(lambda: second.mesh.tag not in owner.mesh.peers)
                if not sent:
                    await stream.send("5")
                say(owner.session(wire.sid), "still here")
                assert await stream.receive() == "4still here"

    async def test_bytes_that_follow_the_request_go_with_it(self, pair: list[Member]) -> None:
        owner, other = pair
        sid = await opened(owner)
        tail = b"".join(map(masked, (b"2probe", b"5", *(b"4%d" % n for n in range(500)))))
        async with connected(other.port, "") as (reader, writer):
            writer.write(upgrade(sid).replace("\n", "\r\n").encode() + tail)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            assert await frame_of(reader) == b"3probe"
            for number in range(500):
                assert await frame_of(reader) == b"4%d" % number
        assert other.counted == {"passed": 1}

    async def test_the_owner_knows_the_client_that_a_proxy_announced(
        self, pair: list[Member]
    ) -> None:
        owner, other = pair
        sid = await opened(owner)
        async with connected(other.port, "") as (reader, writer):
            await until(lambda: other.http.connections)
            (connection,) = other.http.connections
            connection.announced = Announced("203.0.113.7", True)
            senders: list[tuple[str, bool]] = []
            respond = owner.http.routes["/engine.io/"]

            def noted(request: object, connection: object) -> object:
                sender = owner.engine.sender(request, connection)  # type: ignore[arg-type]
                senders.append((sender.address, sender.is_secure))
                return respond(request, connection)  # type: ignore[arg-type]

            owner.http.routes = {"/engine.io/": noted}  # type: ignore[dict-item]
            writer.write(upgrade(sid).replace("\n", "\r\n").encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            assert senders == [("203.0.113.7", True)]

    async def test_an_unknown_session_is_refused_by_the_owner(self, pair: list[Member]) -> None:
        owner, other = pair
        async with connected(other.port, upgrade("aaaaa" + "x" * 20)) as (reader, writer):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
            assert owner.engine.violations.counts["unknown_session"] == 1
            assert other.engine.violations.counts["unknown_session"] == 0
            assert owner.engine.connections == 1
            # It goes on as a connection of the owner.
            body = await reader.readuntil(b"}")
            assert b"Session ID unknown" in body
            writer.write(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404 ")
        await until(lambda: owner.engine.connections == 0)

    async def test_connections_are_counted_where_they_are(self) -> None:
        async with members("aaaaa", "bbbbb") as (owner, other):
            sid = await opened(owner)
            await until(lambda: not owner.http.connections)
            owner.engine.configure(owner.engine.settings, type(owner.engine.limits)(connections=0))
            async with connected(other.port, upgrade(sid)) as (reader, _):
                assert await reader.read() == b""
            assert owner.engine.limits_met.counts["connections"] == 1

    async def test_a_peer_that_takes_no_more_connections(
        self, pair: list[Member], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        owner, other = pair
        sid = await opened(owner)
        monkeypatch.setattr(peer, "MOST_PASSING", 0)
        async with connected(other.port, upgrade(sid)) as (reader, _):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 503 ")
        assert other.counted == {"busy": 1}
        assert other.engine.limits_met.counts["forwarding"] == 1

    async def test_a_rush_of_upgrades(self, pair: list[Member]) -> None:
        """More than fit into the socket between the two."""
        owner, other = pair
        count = 200
        sids = [await opened(owner) for _ in range(count)]

        async def upgraded(sid: str) -> None:
            async with connected(other.port, upgrade(sid)) as (reader, writer):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
                writer.write(masked(b"2probe") + masked(b"5") + masked(b"4" + sid.encode()))
                assert await frame_of(reader) == b"3probe"
                assert await frame_of(reader) == b"4" + sid.encode()

        await asyncio.gather(*map(upgraded, sids))
        assert other.counted == {"passed": count}


class TestRelayed:
    async def test_an_upgrade_over_tls(self, pair: list[Member]) -> None:
        owner, other = pair
        sid = await opened(owner)
        async with over_tls(other), websocket(other, sid, "https") as stream:
            await stream.upgrade()
            assert other.counted == {"relayed": 1}
            assert (other.forwarding.relays, other.engine.connections) == (1, 1)
            for size in (0, 1, 1000, 100_000):
                await stream.send("4" + "x" * size)
                assert await stream.receive() == "4" + "x" * size
        assert await owner.reason(sid) == "transport close"
        await until(lambda: not other.forwarding.relays)
        assert other.engine.connections == 0

    async def test_the_owner_knows_the_client(self, pair: list[Member]) -> None:
        owner, other = pair
        found: list[tuple[str, bool]] = []
        sid = await opened(owner)
        respond = owner.http.routes["/engine.io/"]

        def noted(request: object, connection: object) -> object:
            sender = owner.engine.sender(request, connection)  # type: ignore[arg-type]
            found.append((sender.address, sender.is_secure))
            return respond(request, connection)  # type: ignore[arg-type]

        owner.http.routes = {"/engine.io/": noted}  # type: ignore[dict-item]
        async with over_tls(other), websocket(other, sid, "https"):
            assert found == [("127.0.0.1", True)]

    async def test_the_end_of_the_session_ends_it(self, pair: list[Member]) -> None:
        owner, other = pair
        sid = await opened(owner)
        async with over_tls(other), websocket(other, sid, "https") as stream:
            await stream.upgrade()
            await until(lambda: owner.session(sid).transport == "websocket")
            owner.session(sid).close()
            assert await stream.frame() == "1" or stream.close_code is not None
            await stream.frame()
            await until(lambda: not other.forwarding.relays)

    async def test_the_loss_of_the_owner_ends_it(self, pair: list[Member]) -> None:
        owner, other = pair
        sid = await opened(owner)
        async with over_tls(other), websocket(other, sid, "https") as stream:
            await stream.upgrade()
            for carrier in tuple(owner.engine.websockets):
                carrier.abort()
            assert await stream.frame() is None
            await until(lambda: not other.forwarding.relays)

    async def test_more_bytes_than_go_with_a_descriptor(self, pair: list[Member]) -> None:
        owner, other = pair
        sid = await opened(owner)
        tail = b"".join([masked(b"2probe"), masked(b"5"), *[masked(b"4" + b"x" * 100)] * 2000])
        async with connected(other.port, "") as (reader, writer):
            writer.write(upgrade(sid).replace("\n", "\r\n").encode() + tail)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            assert await frame_of(reader) == b"3probe"
            for _ in range(2000):
                assert await frame_of(reader) == b"4" + b"x" * 100

    async def test_a_client_that_does_not_read_holds_back_the_owner(self) -> None:
        async with members("aaaaa", "bbbbb", send_buffer=4_000_000) as (owner, other):
            sid = await opened(owner)
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            async with over_tls(other) as port, deadline():
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
                writer.write(upgrade(sid).replace("\n", "\r\n").encode())
                await reader.readuntil(b"\r\n\r\n")
                writer.write(masked(b"2probe") + masked(b"5"))
                assert await frame_of(reader) == b"3probe"
                await until(lambda: owner.session(sid).transport == "websocket")
                sent = 0
                while sid in owner.engine.sessions:
                    say(owner.session(sid), "x" * 100_000)
                    sent += 100_000
                    await asyncio.sleep(0)
                assert await owner.reason(sid) == "slow client"
                assert sent < 20_000_000  # all buffers on the way together
                writer.transport.abort()
                await until(lambda: not other.forwarding.relays)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("is_relayed", [False, True], ids=["passed", "relayed"])
def test_on_either_loop(loop: str, is_relayed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """uvloop closes, reads and pauses in its own way."""
    if is_relayed:
        monkeypatch.setattr(passing, "MOST_PASSED", 0)
        monkeypatch.setattr(peer, "MOST_PASSED", 2**16)

    async def main() -> None:
        async with members("aaaaa", "bbbbb") as (owner, other):
            sid = await opened(owner)
            tail = [masked(b"2probe"), masked(b"5"), *(masked(b"4%d" % n) for n in range(2000))]
            async with connected(other.port, "") as (reader, writer):
                writer.write(upgrade(sid).replace("\n", "\r\n").encode())
                for each in tail:
                    writer.write(each)
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
                assert await frame_of(reader) == b"3probe"
                for number in range(2000):
                    assert await frame_of(reader) == b"4%d" % number
            assert await owner.reason(sid) == "transport close"
            await until(lambda: other.engine.connections == owner.engine.connections == 0)

    make: Callable[[], asyncio.AbstractEventLoop] = LOOPS[loop]
    with asyncio.Runner(loop_factory=make) as runner:
        runner.run(main())
