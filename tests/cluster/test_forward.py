"""Requests that reach another member than the one that has their session."""

from __future__ import annotations

import asyncio
import base64
import json

import aiohttp
import pytest

from gateway.cluster import peer as peers
from gateway.cluster.peer import Frame
from gateway.http.request import Request
from tests.cluster.members import Member, RoundWire, members
from tests.deadline import deadline, until
from tests.engineio.echo import say
from tests.engineio.echo_server import BAD_REQUEST, UNKNOWN_SESSION, UNKNOWN_TRANSPORT, connected

Pair = list[Member]


@pytest.fixture
def wire(pair: Pair, http: aiohttp.ClientSession) -> RoundWire:
    """A client whose session the first member has, and that goes round both."""
    return RoundWire(http, *pair)


async def opened(pair: Pair, http: aiohttp.ClientSession) -> RoundWire:
    """A client whose session the first member has, and that asks the second from now on."""
    owner, other = pair
    wire = await RoundWire(http, owner).open()
    return wire.at(other)


def get(sid: str, *fields: str) -> str:
    more = "".join(f"{field}\n" for field in fields)
    return f"GET /engine.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\nHost: x\n{more}\n"


async def head_and_body(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    return head, await reader.readexactly(length)


class TestIds:
    async def test_a_session_is_named_after_its_member(self, pair: Pair, wire: RoundWire) -> None:
        await wire.open()
        assert wire.sid.startswith("aaaaa")
        assert len(wire.sid) == 25
        assert wire.sid in pair[0].engine.sessions


class TestPolling:
    async def test_requests_go_round(self, pair: Pair, wire: RoundWire) -> None:
        await wire.open()
        for number in range(10):
            assert (await wire.post(f"4{number}")).body == "ok"
            assert (await wire.poll()).packets == [f"4{number}"]
        assert pair[0].received == [str(number) for number in range(10)]
        assert pair[1].counted == {"answered": 10}
        assert pair[0].counted == {}

    async def test_a_poll_waits_for_what_is_sent(
        self, pair: Pair, http: aiohttp.ClientSession
    ) -> None:
        owner, other = pair
        wire = await opened(pair, http)
        poll = asyncio.create_task(wire.poll())
        await owner.polled(wire.sid)
        assert other.forwarding.waiting == 1
        say(owner.session(wire.sid), "hello", b"\x00\xff")
        assert (await poll).packets == ["4hello", "bAP8="]
        assert other.forwarding.waiting == 0

    async def test_binary_and_large_bodies(self, pair: Pair, http: aiohttp.ClientSession) -> None:
        wire = await opened(pair, http)
        data = bytes(range(256)) * 2000
        assert (await wire.post("b" + base64.b64encode(data).decode())).status == 200
        assert pair[0].received == [data]
        assert (await wire.poll()).packets == ["b" + base64.b64encode(data).decode()]

    async def test_many_sessions_on_one_connection(self, pair: Pair) -> None:
        owner, other = pair
        async with aiohttp.ClientSession() as http:
            sids = [(await RoundWire(http, owner).open()).sid for _ in range(50)]
        async with connected(other.port, "") as (reader, writer):
            for sid in sids * 2:
                say(owner.session(sid), sid)
                writer.write(get(sid).replace("\n", "\r\n").encode())
                head, body = await head_and_body(reader)
                assert head.startswith(b"HTTP/1.1 200 OK\r\n")
                assert body.decode() == f"4{sid}"
        assert other.counted == {"answered": 100}

    async def test_an_answer_is_the_owners(self, http: aiohttp.ClientSession) -> None:
        async with members("aaaaa", "bbbbb", cors_origins=["http://page.example"]) as pair:
            wire = await opened(pair, http)
            from_page = {"Origin": "http://page.example"}
            own = await wire.at(pair[0]).post("4x", headers=from_page)
            forwarded = await wire.at(pair[1]).post("4x", headers=from_page)
            assert own.headers["Access-Control-Allow-Origin"] == "http://page.example"
            assert {**own.headers, "Date": ""} == {**forwarded.headers, "Date": ""}

    async def test_another_origin_is_refused_once(self, http: aiohttp.ClientSession) -> None:
        async with members("aaaaa", "bbbbb", cors_origins=["http://page.example"]) as pair:
            wire = await opened(pair, http)
            answer = await wire.poll(headers={"Origin": "http://evil.example"})
            assert answer.status == 403
            refused = [member.engine.refused.counts["origin"] for member in pair]
            assert sum(refused) == 1

    async def test_the_owner_knows_the_client(self, http: aiohttp.ClientSession) -> None:
        async with members("aaaaa", "bbbbb", trusted_proxies=["127.0.0.1"]) as pair:
            owner, _ = pair
            senders: list[tuple[str, bool]] = []
            respond = owner.engine.respond

            def respond_and_note(request: Request, connection: object) -> object:
                sender = owner.engine.sender(request, connection)  # type: ignore[arg-type]
                senders.append((sender.address, sender.is_secure))
                return respond(request, connection)  # type: ignore[arg-type]

            owner.engine.respond = respond_and_note  # type: ignore[assignment, method-assign]
            wire = await opened(pair, http)
            senders.clear()
            fields = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
            await wire.post("4x", headers=fields)
            await wire.post("4x")
            assert senders == [("203.0.113.7", True), ("127.0.0.1", False)]


class TestRefusals:
    @pytest.mark.parametrize(
        "sid", ["ccccc" + "x" * 20, "bbbbb" + "x" * 20, "aaaaa" + "x" * 19, "aaaaa", "aaa"]
    )
    async def test_an_id_that_no_peer_can_have(self, pair: Pair, wire: RoundWire, sid: str) -> None:
        answer = await wire.at(pair[1]).poll(sid=sid)
        assert (answer.status, answer.body) == (400, UNKNOWN_SESSION)
        assert pair[1].counted == {}
        assert pair[1].engine.violations.counts["unknown_session"] == 1

    async def test_an_id_that_its_owner_does_not_know(self, pair: Pair, wire: RoundWire) -> None:
        owner, other = pair
        answer = await wire.at(other).poll(sid="aaaaa" + "x" * 20)
        assert (answer.status, answer.body) == (400, UNKNOWN_SESSION)
        assert owner.engine.violations.counts["unknown_session"] == 1
        assert other.engine.violations.counts["unknown_session"] == 0

    async def test_the_owner_checks_the_protocol(
        self, pair: Pair, http: aiohttp.ClientSession
    ) -> None:
        wire = await opened(pair, http)
        answer = await wire.request("DELETE")
        assert (answer.status, answer.body) == (400, BAD_REQUEST)
        answer = await wire.request("GET", transport="smoke")
        assert (answer.status, answer.body) == (400, UNKNOWN_TRANSPORT)
        assert pair[0].engine.violations.counts["bad_request"] == 1
        assert pair[1].engine.violations.counts["bad_request"] == 0

    async def test_a_body_that_is_too_large_is_not_forwarded(
        self, http: aiohttp.ClientSession
    ) -> None:
        async with members("aaaaa", "bbbbb", max_payload=1000) as pair:
            wire = await opened(pair, http)
            answer = await wire.post("4" + "x" * 1000)
            assert answer.status == 413
            assert json.loads(answer.body)["code"] == "too_large"
            assert pair[1].engine.violations.counts["too_large"] == 1
            assert pair[1].counted == {}
            assert (await wire.post("4" + "x" * 999)).status == 200

    async def test_a_fault_of_the_owner(
        self, pair: Pair, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
    ) -> None:
        owner, _ = pair

        def fail(*_: object) -> None:
            raise RuntimeError("broken")

        wire = await opened(pair, http)
        owner.engine.respond = fail  # type: ignore[assignment, method-assign]
        assert (await wire.poll()).status == 500
        assert owner.engine.faults.counts["request"] == 1

    async def test_an_owner_that_does_not_read(
        self, pair: Pair, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = pair[1]
        wire = await opened(pair, http)
        monkeypatch.setattr(peers, "MOST_WAITING", -1)
        answer = await wire.poll()
        monkeypatch.undo()
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "1"
        assert other.counted == {"busy": 1}
        assert other.engine.limits_met.counts["forwarding"] == 1
        assert (await wire.post("4x")).status == 200


class TestGone:
    async def test_the_owner_hears_of_a_client_that_left_its_poll(self, pair: Pair) -> None:
        owner, other = pair
        async with aiohttp.ClientSession() as http:
            sid = (await RoundWire(http, owner).open()).sid
        async with connected(other.port, get(sid)):
            await owner.polled(sid)
        assert await owner.reason(sid) == "transport error"
        assert other.counted == {"client_gone": 1}

    async def test_a_client_that_does_not_read_its_answer(self) -> None:
        """What was sent is kept until the limit of unread bytes, as without a peer."""
        async with members("aaaaa", "bbbbb", send_buffer=50_000_000) as (owner, other):
            async with aiohttp.ClientSession() as http:
                sid = (await RoundWire(http, owner).open()).sid
            large = "x" * 20_000_000
            async with connected(other.port, get(sid) * 2) as (reader, _):
                await owner.polled(sid)
                say(owner.session(sid), large)
                session = owner.session(sid)
                await until(lambda: session.outbox.taken)
                say(session, "next")
                await until(lambda: other.http.connections)
                assert session.outbox.taken >= len(large)
                _, body = await head_and_body(reader)
                assert len(body) == len(large) + 1
                _, body = await head_and_body(reader)
                assert body == b"4next"

    async def test_the_end_of_a_session_reaches_its_last_poll(
        self, pair: Pair, http: aiohttp.ClientSession
    ) -> None:
        owner, other = pair
        wire = await opened(pair, http)
        poll = asyncio.create_task(wire.poll())
        await owner.polled(wire.sid)
        owner.session(wire.sid).close()
        assert (await poll).packets == ["1"]
        assert await owner.reason(wire.sid) == "server disconnect"
        assert other.forwarding.waiting == 0

    async def test_an_owner_that_is_lost_in_a_poll(
        self, pair: Pair, http: aiohttp.ClientSession
    ) -> None:
        owner, other = pair
        wire = await opened(pair, http)
        poll = asyncio.create_task(wire.poll())
        await owner.polled(wire.sid)
        owner.mesh.close()
        answer = await poll
        assert (answer.status, answer.body) == (400, UNKNOWN_SESSION)
        assert other.counted == {"owner_lost": 1}
        answer = await wire.poll()
        assert (answer.status, answer.body) == (400, UNKNOWN_SESSION)

    async def test_a_session_outlives_the_member_that_forwarded_its_poll(
        self, http: aiohttp.ClientSession
    ) -> None:
        async with members("aaaaa", "bbbbb", "ccccc") as (owner, other, third):
            wire = await opened([owner, other], http)
            poll = asyncio.create_task(wire.poll())
            await owner.polled(wire.sid)
            other.mesh.close()
            assert (await poll).status == 400
            await until(lambda: not owner.is_polled(wire.sid))
            say(owner.session(wire.sid), "kept")
            assert (await wire.at(third).poll()).packets == ["4kept"]

    async def test_a_session_ends_when_its_packets_are_lost_on_the_way(self) -> None:
        async with members("aaaaa", "bbbbb") as (owner, other):
            async with aiohttp.ClientSession() as http:
                sid = (await RoundWire(http, owner).open()).sid
            async with connected(other.port, get(sid)):
                await owner.polled(sid)
                say(owner.session(sid), "x" * 20_000_000)
                session = owner.session(sid)
                await until(lambda: session.outbox.taken)
                await until(lambda: other.forwarding.counts["answered"])
                other.mesh.close()
                assert await owner.reason(sid) == "transport error"


class TestRepeatedPolls:
    async def test_the_older_one_gives_way(self, pair: Pair, http: aiohttp.ClientSession) -> None:
        """As when nginx repeats a GET at the next upstream."""
        owner, other = pair
        wire = await opened(pair, http)
        for first, second in ((other, owner), (owner, other), (other, other), (owner, owner)):
            older = asyncio.create_task(wire.at(first).poll())
            await owner.polled(wire.sid)
            polling = owner.session(wire.sid).polling
            assert polling is not None
            waiting = polling._waiting
            newer = asyncio.create_task(wire.at(second).poll())
            assert (await older).packets == ["6"]
            assert polling._waiting is not waiting
            say(owner.session(wire.sid), "hello")
            assert (await newer).packets == ["4hello"]
        assert owner.engine.violations.counts["overlap"] == 0

    async def test_two_posts_end_the_session(self, pair: Pair, http: aiohttp.ClientSession) -> None:
        owner, other = pair
        wire = await opened(pair, http)
        half = f"POST /engine.io/?EIO=4&transport=polling&sid={wire.sid} HTTP/1.1\nHost: x\n"
        async with connected(owner.port, half + "Content-Length: 5\n\n4"):
            await owner.posted()
            assert (await wire.at(other).post("4x")).status == 400
        assert await owner.reason(wire.sid) == "transport error"


async def test_frames_for_nobody_are_ignored(pair: Pair, http: aiohttp.ClientSession) -> None:
    """Answers and signals cross: those of requests that are over find nothing."""
    owner, other = pair
    wire = await opened(pair, http)
    from gateway.cluster.requests import ForwardedAnswer, Signal, encode, encode_signal
    from gateway.http.response import Answer

    owner.peer(other).send(Frame.ANSWER, encode(ForwardedAnswer(99, Answer(200))))
    for signal in Signal:
        owner.peer(other).send(Frame.SIGNAL, encode_signal(99, signal))
        other.peer(owner).send(Frame.SIGNAL, encode_signal(99, signal))
    async with deadline():
        assert (await wire.post("4x")).body == "ok"
