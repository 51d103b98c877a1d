"""Presence on several members: they agree on who is there, and each tells its own sockets once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.cluster import messages as wire
from gateway.testing import TestClient, TestGateway
from tests.cluster.gateways import GatewayMember, gateways
from tests.cluster.redis_members import members
from tests.deadline import until
from tests.gateway_files import write
from tests.programs.redis import redis

CONFIG = """
namespaces:
  /:
    user: data.name
    connection_middleware: [auth, {use: builtin.presence, with: {grace: GRACE}}]
    routes: {enter: room.enter, leave: room.leave}
"""
AUTH = """
async def auth(ctx, next):
    ctx.socket.data.update(ctx.socket.handshake.auth)
    await next()
"""
ROOM = """
async def enter(ctx, room: str):
    await ctx.socket.join(room)

async def leave(ctx, room: str):
    await ctx.socket.leave(room)
"""


def file(folder: Path, grace: float) -> Path:
    return write(folder, CONFIG.replace("GRACE", str(grace)), auth=AUTH, room=ROOM)


async def enter(member: TestGateway, name: str, room: str = "red") -> TestClient:
    client = await member.connect(auth={"name": name})
    await client.call("enter", room)
    return client


async def here(member: TestGateway, room: str = "red") -> list[str | None]:
    return sorted(str(each.user) for each in await member.gateway.of("/").to(room).present())


async def told(client: TestClient) -> tuple[list[Any], list[Any]]:
    """The next joins and leaves that a client hears of."""
    (told,) = (await client.receive("presence", timeout=60)).args
    assert isinstance(told, Mapping)
    joins, leaves = told["joins"], told["leaves"]
    return [each["user"] for each in joins], [each["user"] for each in leaves]


async def until_here(member: TestGateway, *names: str, room: str = "red") -> None:
    """Wait until a member has these in a room, and nothing more to tell."""
    presence = member._server.hub.presence
    place = ("/", room)
    await until(
        lambda: (
            sorted(who.removeprefix("\0user:") for who, _ in presence.roster.present(place))
            == sorted(names)
            and presence._timer is None
        )
    )


async def test_members_agree_and_tell_once(tmp_path: Path) -> None:
    async with gateways(file(tmp_path, 0), 2) as (one, other):
        ann = await enter(one, "ann")
        assert await told(ann) == (["ann"], [])
        await until_here(other, "ann")
        bob = await enter(other, "bob")
        assert await told(bob) == (["bob"], [])
        assert await told(ann) == (["bob"], [])
        second = await enter(one, "bob")
        await until_here(one, "ann", "bob")
        await bob.disconnect()
        await until(lambda: "tag-2" not in one._server.hub.presence.roster.tags())
        await second.disconnect()
        assert await told(ann) == ([], ["bob"])
        await until_here(other, "ann")


async def test_who_comes_back_at_another_member_has_never_left(tmp_path: Path) -> None:
    async with gateways(file(tmp_path, 0.5), 2) as (one, other):
        ann, bob = await enter(one, "ann"), await enter(other, "bob")
        await until_here(one, "ann", "bob")
        await until_here(other, "ann", "bob")
        while (joined := await told(ann))[0][-1] != "bob":
            assert joined == (["ann"], [])
        await bob.disconnect()
        await enter(one, "bob")
        await until(lambda: "tag-2" not in one._server.hub.presence.roster.tags())
        eve = await enter(other, "eve")
        assert await told(ann) == (["eve"], [])
        assert await here(other) == ["ann", "bob", "eve"] == await here(one)
        assert eve.connected


async def test_a_lost_member_is_forgotten_after_the_grace_and_one_that_joins_is_told(
    tmp_path: Path,
) -> None:
    async with gateways(file(tmp_path, 0.5), 2) as (one, other):
        ann, bob = await enter(one, "ann"), await enter(other, "bob")
        for member in (one, other):
            await until_here(member, "ann", "bob")
        presence = one._server.hub.presence
        other.mesh.close()
        await until(lambda: presence._lost)
        assert await here(one) == ["ann", "bob"]
        while not (heard := await told(ann))[1]:
            pass
        assert heard == ([], ["bob"])
        assert not presence._lost
        assert bob.connected
        third = GatewayMember(one._file, 3)
        async with third:
            await third.rejoin(one)
            await until_here(third, "ann")
            third.mesh.close()


async def test_a_member_that_returns_within_the_grace_changes_nothing(tmp_path: Path) -> None:
    async with gateways(file(tmp_path, 3600), 2) as (one, other):
        ann = await enter(one, "ann")
        await enter(other, "bob")
        await enter(other, "eve")
        for member in (one, other):
            await until_here(member, "ann", "bob", "eve")
        heard: list[str] = []
        while len(heard) < 3:
            heard += (await told(ann))[0]
        for peer in tuple(one.mesh.peers.values()):
            peer.close()
        await until(lambda: one._server.hub.presence._lost)
        await enter(other, "dan")
        await other.rejoin(one)
        assert await told(ann) == (["dan"], [])
        await until(lambda: not one._server.hub.presence._lost)
        assert await here(one) == ["ann", "bob", "dan", "eve"] == await here(other)


async def test_many_are_told_in_parts(tmp_path: Path) -> None:
    async with gateways(file(tmp_path, 0), 2) as (one, other):
        ann = await one.connect(auth={"name": "ann"})
        rooms = [f"room-{number}" for number in range(450)]
        await one.gateway.of("/").join(rooms)
        presence = other._server.hub.presence
        await until(lambda: len(presence.roster) == 450)
        one.emitter.incoming._presence._tell_all("tag-2")
        await ann.call("leave", "room-449")
        heard = other.emitter.incoming._presence._heard["tag-1"]
        await until(lambda: heard.part == 3 and heard.whole is None and len(presence.roster) == 449)


@pytest.mark.parametrize("lost", ["change", "change and answer", "change and its number"])
async def test_missed_changes_are_asked_for_again(tmp_path: Path, lost: str) -> None:
    async with redis() as running, members(file(tmp_path, 0), running, 2) as (one, other):
        ann = await enter(one, "ann")
        await until_here(other, "ann")
        exchange = other.emitter.incoming._presence
        take, dropped = exchange.take, []

        def drop(message: wire.Presence | wire.AskPresence) -> None:
            kind = kind_of(message)
            if kind in lost.split(" and ") and kind not in dropped:
                dropped.append(kind)
            else:
                take(message)

        exchange.take = drop  # type: ignore[method-assign]
        await enter(one, "bob")
        await until_here(other, "ann", "bob")  # a beat told that it was missed
        await until(lambda: dropped == lost.split(" and "))
        await ann.disconnect()
        await until_here(other, "bob")


async def test_a_member_that_does_not_know_that_it_was_lost_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped for a while: it has lost nobody, and has nothing new to tell."""
    monkeypatch.setattr("gateway.cluster.presence.REPEAT", 1_000_000)
    async with redis() as running, members(file(tmp_path, 0), running, 2) as (one, other):
        await enter(one, "ann")
        bob = await enter(other, "bob")
        for member in (one, other):
            await until_here(member, "ann", "bob")
        exchange = one.emitter.incoming._presence
        await until(lambda: exchange._told == exchange._state)
        other.bus.beats.heard(msgspec.msgpack.encode((one.bus.tag, "gone")))
        while not (heard := await told(bob))[1]:
            pass
        assert heard == ([], ["ann"])
        assert await told(bob) == (["ann"], [])
        await until_here(one, "ann", "bob")


def kind_of(message: wire.Presence | wire.AskPresence) -> str:
    if isinstance(message, wire.AskPresence):
        return "question"
    if message.part is not None:
        return "answer"
    return "change" if message.entries else "its number"


@pytest.mark.parametrize("count", [3])
async def test_members_on_redis_agree(tmp_path: Path, count: int) -> None:
    async with redis() as running, members(file(tmp_path, 0), running, count) as found:
        clients = [await enter(member, f"user-{n}") for n, member in enumerate(found)]
        names = [f"user-{n}" for n in range(count)]
        for member in found:
            await until_here(member, *names)
        heard: list[str] = []
        async with asyncio.timeout(60):
            while len(heard) < count:
                heard += (await told(clients[0]))[0]
        assert sorted(heard) == names
