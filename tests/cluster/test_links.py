"""Requests that reach another machine than the one that has their session."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest

from gateway.cluster import link_listener, link_peer, link_requests, links
from gateway.cluster.link_greeting import Line, Purpose, greet
from gateway.cluster.peer import HEAD, Frame
from tests.cluster.linked import SECRET, Cable, LinkedMember, linked
from tests.cluster.members import RoundWire
from tests.cluster.test_passing import websocket
from tests.deadline import deadline, until
from tests.engineio.echo import say
from tests.engineio.echo_server import UNKNOWN_SESSION, connected

Pair = tuple[LinkedMember, LinkedMember]


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with linked() as made:
        yield made


@asynccontextmanager
async def cabled(
    monkeypatch: pytest.MonkeyPatch, wait: float
) -> AsyncIterator[tuple[LinkedMember, LinkedMember, Cable]]:
    """An owner, another member, and the cable from that to the owner; requests wait so long."""
    monkeypatch.setattr(link_requests, "WAIT", wait)
    async with LinkedMember("aaaaa") as owner, LinkedMember("bbbbb") as other:
        await owner.listen()
        await other.listen()
        cable = Cable(owner.links.listener.port)
        await cable.mend()
        try:
            other.hear(owner, cable.port)
            await until(lambda: other.is_linked(owner))
            yield owner, other, cable
        finally:
            await cable.cut()


async def opened(
    owner: LinkedMember, other: LinkedMember, http: aiohttp.ClientSession
) -> RoundWire:
    """A client whose session the owner has, and that asks the other from now on."""
    wire = await RoundWire(http, owner).open()  # type: ignore[arg-type]
    return wire.at(other)  # type: ignore[arg-type]


class TestRequests:
    async def test_polls_and_posts_go_round(self, pair: Pair, http: aiohttp.ClientSession) -> None:
        wire = await RoundWire(http, *pair).open()  # type: ignore[arg-type]
        for number in range(10):
            assert (await wire.post(f"4{number}")).body == "ok"
            assert (await wire.poll()).packets == [f"4{number}"]
        assert pair[1].counted == {"answered": 10}
        assert pair[0].counted == {}

    async def test_a_client_that_leaves_is_told_to_the_owner(
        self, pair: Pair, http: aiohttp.ClientSession
    ) -> None:
        owner, other = pair
        wire = await opened(owner, other, http)
        poll = asyncio.create_task(wire.poll())
        await owner.polled(wire.sid)
        poll.cancel()
        assert await owner.reason(wire.sid) == "transport error"
        assert other.counted == {"client_gone": 1}

    async def test_an_upgrade_is_relayed(self, pair: Pair, http: aiohttp.ClientSession) -> None:
        owner, other = pair
        wire = await opened(owner, other, http)
        async with websocket(other, wire.sid) as stream:  # type: ignore[arg-type]
            await stream.upgrade()
            await stream.send("4hello", b"\x00\xff")
            assert await stream.receive() == "4hello"
            assert await stream.receive() == b"\x00\xff"
            assert other.counted == {"relayed": 1}
            assert other.engine.connections == 1 + len(other.http.connections)
        assert await owner.reason(wire.sid) == "transport close"
        await until(lambda: not other.http.relays and not owner.engine.websockets)

    async def test_one_that_reads_slowly_holds_up_no_other(
        self, pair: Pair, http: aiohttp.ClientSession
    ) -> None:
        owner, other = pair
        slow, quick = [await opened(owner, other, http) for _ in range(2)]
        async with websocket(other, slow.sid) as stream:  # type: ignore[arg-type]
            await stream.upgrade()
            full = owner.session(slow.sid)
            (websocket_of_slow,) = owner.engine.websockets
            reading = stream.socket._response.connection.transport  # type: ignore[union-attr]
            reading.pause_reading()
            for _ in range(64):
                say(full, "x" * 2**18)
            assert (await quick.post("4quick")).body == "ok"
            assert (await quick.poll()).packets == ["4quick"]
            reading.resume_reading()
            for _ in range(64):
                assert await stream.receive() == "4" + "x" * 2**18
            assert websocket_of_slow in owner.engine.websockets

    async def test_the_owner_knows_the_address_of_the_client(
        self, pair: Pair, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What proxies say of it goes along, and is believed as the owner believes it."""
        owner, other = pair
        for member in pair:
            settings = type(owner.engine.settings)
            member.engine.configure(settings(trusted_proxies=("127.0.0.1",)), owner.engine.limits)
        told: list[tuple[str, str]] = []

        def record(self: object, kind: str, address: str, *_: object) -> None:
            told.append((kind, address))

        monkeypatch.setattr(type(owner.engine.violations), "record", record)
        wire = await opened(owner, other, http)
        request = (
            f"GET /engine.io/?EIO=4&transport=nothing&sid={wire.sid} HTTP/1.1\n"
            "Host: x\nX-Forwarded-For: 203.0.113.7\n\n"
        )
        async with connected(other.port, request) as (reader, _):
            assert b" 400 " in await reader.readuntil(b"\r\n\r\n")
        assert told == [("unknown_transport", "203.0.113.7")]

    @pytest.mark.parametrize("tag", ["ccccc", "", "aaaa/"])
    async def test_an_unknown_tag_is_refused_at_once(
        self, pair: Pair, http: aiohttp.ClientSession, tag: str
    ) -> None:
        wire = await opened(*pair, http)
        wire.sid = tag + "x" * 20
        assert (await wire.poll()).body == UNKNOWN_SESSION
        assert pair[1].counted == {}


class TestDown:
    async def test_a_request_waits_for_the_link(
        self, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with cabled(monkeypatch, 100.0) as (owner, other, cable):
            wire = await opened(owner, other, http)
            await cable.cut()
            await until(lambda: not other.is_linked(owner))
            post = asyncio.create_task(wire.post("4hello"))
            await until(lambda: other.links.waiting)
            await cable.mend()
            assert (await post).body == "ok"
            assert (await wire.poll()).packets == ["4hello"]
            assert other.links.waiting == 0

    async def test_a_poll_is_sent_again(
        self, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with cabled(monkeypatch, 100.0) as (owner, other, cable):
            wire = await opened(owner, other, http)
            poll = asyncio.create_task(wire.poll())
            await owner.polled(wire.sid)
            await cable.cut()
            await until(lambda: other.links.waiting)
            await cable.mend()
            await until(lambda: other.is_linked(owner))
            await owner.polled(wire.sid)
            say(owner.session(wire.sid), "hello")
            assert "4hello" in (await poll).packets

    async def test_then_it_is_refused(
        self, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with cabled(monkeypatch, 0.01) as (owner, other, cable):
            wire = await opened(owner, other, http)
            await cable.cut()
            await until(lambda: not other.is_linked(owner))
            for answer in (await wire.poll(), await wire.post("4lost")):
                assert answer.status == 503
                assert answer.headers["Retry-After"] == "1"
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                async with websocket(other, wire.sid):  # type: ignore[arg-type]
                    pass
            assert refused.value.status == 503
            assert other.links.refused == 3
            assert other.links.waiting == 0
            await cable.mend()
            await until(lambda: other.is_linked(owner))
            assert (await wire.post("4here")).body == "ok"
            assert owner.received == ["here"]

    async def test_a_post_that_may_have_arrived_is_not_for_a_proxy_to_repeat(
        self, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with cabled(monkeypatch, 100.0) as (owner, other, cable):
            wire = await opened(owner, other, http)
            cable.hold()
            post = asyncio.create_task(wire.post("4hello"))
            await until(lambda: other.links.forwarding.waiting)
            await cable.cut()
            assert (await post).body == UNKNOWN_SESSION
            assert other.counted == {"owner_lost": 1}

    async def test_no_more_requests_wait_than_are_allowed(
        self, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(links, "MOST_WAITING", 0)
        async with cabled(monkeypatch, 100.0) as (owner, other, cable):
            wire = await opened(owner, other, http)
            await cable.cut()
            await until(lambda: not other.is_linked(owner))
            assert (await wire.poll()).status == 503

    async def test_a_link_that_is_silent_is_lost(
        self, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(links, "PING", 0.05)
        monkeypatch.setattr(links, "SILENCE", 0.5)
        async with cabled(monkeypatch, 100.0) as (owner, other, cable):
            cable.hold()
            await until(lambda: other.links.lost)
            assert not other.is_linked(owner)
            await cable.cut()
            await cable.mend()
            await until(lambda: other.is_linked(owner))

    async def test_a_member_that_is_gone_is_forgotten_with_its_link(
        self, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with cabled(monkeypatch, 100.0) as (owner, other, cable):
            wire = await opened(owner, other, http)
            other.lose(owner)
            assert (await wire.post("4hello")).body == "ok"  # it only does not tell any more
            await cable.cut()
            await until(lambda: not other.links.states)
            assert (await wire.poll()).body == UNKNOWN_SESSION


@asynccontextmanager
async def stranger(
    member: LinkedMember,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", member.links.listener.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def greeted(member: LinkedMember, purpose: Purpose, own: str = "zzzzz") -> Line:
    """A connection to a member that knows the secret."""
    port = member.links.listener.port
    loop = asyncio.get_running_loop()
    _, line = await loop.create_connection(Line, "127.0.0.1", port)
    await greet(line, own, member.members.own, purpose, SECRET)
    return line


class TestStrangers:
    async def test_another_secret(self) -> None:
        async with (
            LinkedMember("aaaaa") as owner,
            LinkedMember("bbbbb", secret=b"another secret") as other,
        ):
            await owner.listen()
            other.hear(owner)
            await until(lambda: other.links.faults["aaaaa"].startswith("it has another"))
            assert not other.is_linked(owner)
            # Who listens proves itself first: the other does not answer, and tells nothing.
            await until(lambda: owner.links.listener.refused["cut"])

    async def test_a_wrong_proof(self, pair: Pair) -> None:
        refused = pair[0].links.listener.refused
        async with stranger(pair[0]) as (reader, writer):
            writer.write(b"sockgw link 1\n\x01zzzzzaaaaa" + bytes(32) + bytes(32))
            assert len(await reader.read()) == 64
        assert refused["secret"] == 1

    async def test_garbage(self, pair: Pair) -> None:
        async with stranger(pair[0]) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + bytes(1000))
            assert await reader.read() == b""
        assert pair[0].links.listener.refused["garbage"] == 1

    async def test_half_a_greeting(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(link_listener, "GREETING", 0.05)
        async with stranger(pair[0]) as (reader, writer):
            writer.write(b"sockgw link 1\n\x01")
            assert await reader.read() == b""
        assert pair[0].links.listener.refused["timeout"] == 1

    async def test_a_greeting_for_another_member(self, pair: Pair) -> None:
        owner, other = pair
        other.hear(LinkedMember("ccccc"), owner.links.listener.port)
        await until(lambda: owner.links.listener.refused["member"])
        assert other.links.states == {"aaaaa": True, "ccccc": False}

    async def test_the_oldest_makes_room(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(link_listener, "MOST_GREETING", 2)
        async with stranger(pair[0]) as (first, _), stranger(pair[0]), stranger(pair[0]):
            async with deadline():
                assert await first.read() == b""
            assert pair[0].links.listener.refused["crowded"] == 1
            line = await greeted(pair[0], Purpose.FRAMES)
            line.abort()

    async def test_frames_before_a_greeting_are_not_read(self, pair: Pair) -> None:
        async with stranger(pair[0]) as (reader, writer):
            writer.write(HEAD.pack(2**31, Frame.REQUEST) + bytes(2**19))
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
        await until(lambda: pair[0].links.listener.refused["garbage"])

    @pytest.mark.parametrize(
        "frame",
        [
            HEAD.pack(2**31, Frame.REQUEST),
            HEAD.pack(3, 99) + b"abc",
            HEAD.pack(3, Frame.REQUEST) + b"abc",
            HEAD.pack(3, Frame.SIGNAL) + b"abc",
        ],
    )
    async def test_a_member_that_sends_what_is_no_frame(self, pair: Pair, frame: bytes) -> None:
        line = await greeted(pair[0], Purpose.FRAMES)
        line.write(frame)
        with pytest.raises(ConnectionError):
            async with deadline():
                await line.read(2**20)
        assert pair[1].is_linked(pair[0])

    @pytest.mark.parametrize("sent", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x03abc"])
    async def test_a_client_that_is_none(self, pair: Pair, sent: bytes) -> None:
        line = await greeted(pair[0], Purpose.CLIENT)
        line.write(sent)
        with pytest.raises(ConnectionError):
            async with deadline():
                await line.read(1)
        assert pair[0].links.listener.refused["garbage"] == 1

    async def test_a_frame_that_is_too_large_is_not_sent(
        self, pair: Pair, monkeypatch: pytest.MonkeyPatch, http: aiohttp.ClientSession
    ) -> None:
        wire = await opened(*pair, http)
        monkeypatch.setattr(link_peer, "MOST_FRAME", 1000)
        answer = await wire.post("4" + "x" * 1000)
        assert answer.status == 503
        assert pair[1].is_linked(pair[0])


async def test_a_port_that_is_in_use_is_bound_once_it_is_free(pair: Pair) -> None:
    former, successor = pair[0], LinkedMember("ccccc")
    port = former.links.listener.port
    successor.links.listener._wanted = port
    async with successor:
        successor.links.start()
        await asyncio.sleep(0)
        assert successor.links.listener.port == 0
        former.links.give_way()
        await until(lambda: successor.links.listener.port == port)
        assert pair[1].is_linked(former)  # links stay
        with socket.create_connection(("127.0.0.1", port)):
            pass
