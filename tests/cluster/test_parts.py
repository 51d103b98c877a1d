"""Answers of more than a message may have: they come in parts, or are known not to be whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.cluster import messages as wire
from gateway.cluster.bus import Channel, Kind
from gateway.cluster.listing import rooms_page, sockets_page
from tests.cluster.redis_members import NatsMember, RedisMember, members, nats_members
from tests.deadline import until
from tests.gateway_files import write
from tests.programs.nats import nats
from tests.programs.redis import redis

CONFIG = "namespaces: {/: {connection_middleware: [plugin.chain]}}\n"
PLUGIN = """
async def chain(ctx, next):
    size = ctx.socket.handshake.auth["size"]
    ctx.socket.data["text"] = "x" * size
    await ctx.socket.join(["é" * size + str(number) for number in range(bool(size))])
    await next()
"""
LONG = 1000.0
"""Seconds that no test waits."""

Two = list[RedisMember] | list[NatsMember]


@pytest_asyncio.fixture(params=["redis", "nats"])
async def two(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Two]:
    file = write(tmp_path, CONFIG, plugin=PLUGIN)
    async with AsyncExitStack() as stack:
        if request.param == "redis":
            running = await stack.enter_async_context(redis())
            yield await stack.enter_async_context(members(file, running))
        else:
            server = await stack.enter_async_context(nats())
            yield await stack.enter_async_context(nats_members(file, server))


async def connect(member: RedisMember | NatsMember, *sizes: int) -> None:
    """Connect a client with so much data, and with a room of a name of that length, each."""
    for size in sizes:
        await member.connect(auth={"size": size})


async def test_many_sockets_come_in_parts(two: Two) -> None:
    one, other = two
    await connect(other, *[60_000] * 30)  # 5.4 MB
    found = await one.gateway.of("/").sockets(timeout=LONG)
    assert (len(found), found.missing) == (30, ())
    assert {len(each.data["text"]) for each in found} == {60_000}
    assert not other.bus.counts.unpublished


async def test_a_socket_that_is_too_large_has_its_member_missing(two: Two) -> None:
    """The others of that member are there all the same, whatever their order."""
    one, other = two
    await connect(other, 0, 1_000_000, 0)
    await connect(one, 0)
    found = await one.gateway.of("/").sockets(timeout=LONG)
    assert found.missing == ("tag-1",)
    assert len(found) in {1, 2, 3}
    assert other.bus.counts.unpublished == {"large": 1}
    assert one.emitter.requests.unanswered == 1


async def test_a_part_that_is_lost_has_its_member_missing(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    await connect(other, *[100_000] * 4)
    receive = one.bus.receive
    answers = 0

    def lose_one(channel: Channel, message: bytes) -> None:
        nonlocal answers
        answers += channel.kind is Kind.ANSWER
        if channel.kind is not Kind.ANSWER or answers != 2:
            receive(channel, message)

    one.bus.receive = lose_one
    found = await one.gateway.of("/").sockets(timeout=LONG)
    assert (len(found), found.missing) == (3, ("tag-1",))
    assert one.bus.counts.missed == 1


async def test_an_answer_to_a_call_that_is_too_large_is_missing_at_once(two: Two) -> None:
    one, other = two
    client = await other.connect(auth={"size": 0})
    calling = asyncio.create_task(one.gateway.of("/").call("ask", timeout=LONG))
    await client.answer(await client.receive("ask", timeout=LONG), "x" * 1_000_000)
    found = await calling
    assert (found.answers, found.missing_members) == ({}, ("tag-1",))


async def test_pages_are_whole_or_missing(two: Two) -> None:
    one, other = two
    hub = one._server.hub
    await connect(other, *[100_000] * 4)  # each room's name has 200 KB
    page = await sockets_page(hub, one.gateway.of("/"), "", 100)
    assert (len(page.sockets), page.total, page.missing) == (4, 4, ())
    await connect(other, 600_000)
    page = await sockets_page(hub, one.gateway.of("/"), "", 100)
    assert page.missing == ("tag-1",)
    rooms = await rooms_page(hub, "/", "", 100)
    assert rooms.missing == ("tag-1",)


async def test_members_of_a_former_version_do_not_say_how_many_parts(two: Two) -> None:
    one, other = two
    await connect(other, 0)
    send = other.emitter.incoming.answering._send

    def without(namespace: str, answer: wire.Answer, to: str) -> None:
        answer.parts = 0
        send(namespace, answer, to)

    other.emitter.incoming.answering._send = without
    found = await one.gateway.of("/").sockets(timeout=LONG)
    assert (len(found), found.missing) == (1, ())


async def test_nats_says_how_large_a_message_may_be(tmp_path: Path) -> None:
    """A larger one would end the connection."""
    settings = tmp_path / "nats.conf"
    settings.write_text("max_payload: 100KB\n")
    file = write(tmp_path, CONFIG, plugin=PLUGIN)
    async with (
        nats("--config", str(settings)) as server,
        nats_members(file, server) as (one, other),
    ):
        await connect(other, 0)
        for size in (1, 200_000):
            await one.gateway.of("/").emit("large", "x" * size)
        await one.gateway.of("/").emit("small", "x" * 90_000)
        await until(lambda: other.bus.counts.missed)
        assert one.bus.counts.unpublished == {"large": 1}
        assert (one.bus.state.changes, one.bus.counts.unconfirmed) == (0, 0)
        await connect(other, 20_000, 20_000, 20_000)
        found = await one.gateway.of("/").sockets(timeout=LONG)
        assert found.missing == ()
