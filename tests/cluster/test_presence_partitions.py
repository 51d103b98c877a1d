"""Presence when members cannot reach each other: leaves and joins are told once, nobody stays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.testing import TestClient, TestGateway
from tests.cluster import redis_members
from tests.cluster.cut_wire import CutWire
from tests.cluster.redis_members import NatsMember, RedisMember, nats_members
from tests.cluster.test_presence import enter, file, told, until_here
from tests.deadline import until
from tests.programs.nats import nats
from tests.programs.redis import redis

BOTH = {"to_redis", "from_redis"}


async def heard_until(client: TestClient, last: str) -> list[str]:
    """What a client hears up to the join of `last`, without that; in order of the alphabet."""
    found: list[str] = []
    while f"+{last}" not in found:
        joins, leaves = await told(client)
        found += [f"+{name}" for name in joins] + [f"-{name}" for name in leaves]
    return sorted(each for each in found if each != f"+{last}")


@asynccontextmanager
async def walled(
    folder: Path, grace: float
) -> AsyncIterator[tuple[RedisMember, RedisMember, CutWire]]:
    """Two members, and what is between the second and Redis."""
    async with redis() as running, redis_members.walled(file(folder, grace), running) as found:
        yield found


async def settled(*members: TestGateway, names: list[str]) -> None:
    for member in members:
        await until_here(member, *names)


async def cut(wall: CutWire, one: RedisMember, two: RedisMember) -> None:
    """Drop all packets until both know that something is wrong."""
    wall.drops = set(BOTH)
    await until(lambda: not one.bus.members and not two.bus.is_up)


async def mended(wall: CutWire, one: RedisMember, two: RedisMember) -> None:
    wall.drops = set()
    await until(lambda: one.bus.members and two.bus.is_up)


async def test_a_partition_longer_than_the_grace(tmp_path: Path) -> None:
    """The others leave once, and join once when they are back; each side learns what was missed."""
    async with walled(tmp_path, 0.2) as (one, two, wall):
        ann, eve = await enter(one, "ann"), await enter(one, "eve")
        bob, gus = await enter(two, "bob"), await enter(two, "gus")
        await settled(one, two, names=["ann", "bob", "eve", "gus"])
        await enter(one, "first")
        await settled(one, two, names=["ann", "bob", "eve", "first", "gus"])
        await heard_until(ann, "first")
        await heard_until(bob, "first")
        await cut(wall, one, two)
        await until_here(one, "ann", "eve", "first")
        # Meanwhile, on each side, one leaves and one comes.
        await eve.disconnect()
        await gus.disconnect()
        await enter(one, "dan")
        await enter(two, "ida")
        await until_here(one, "ann", "dan", "first")
        await mended(wall, one, two)
        await settled(one, two, names=["ann", "bob", "dan", "first", "ida"])
        await enter(one, "last")
        assert await heard_until(ann, "last") == ["+bob", "+dan", "+ida", "-bob", "-eve", "-gus"]
        assert await heard_until(bob, "last") == ["+dan", "+ida", "-eve", "-gus"]


async def test_a_partition_within_the_grace(tmp_path: Path) -> None:
    """Nothing is told of those who were out of reach, only of those who came meanwhile."""
    async with walled(tmp_path, 3600) as (one, two, wall):
        ann, bob = await enter(one, "ann"), await enter(two, "bob")
        await settled(one, two, names=["ann", "bob"])
        await enter(two, "first")
        await settled(one, two, names=["ann", "bob", "first"])
        await heard_until(ann, "first")
        await heard_until(bob, "first")
        await cut(wall, one, two)
        await enter(two, "ida")
        await until_here(one, "ann", "bob", "first")
        await mended(wall, one, two)
        await settled(one, two, names=["ann", "bob", "first", "ida"])
        assert not one._server.hub.presence._lost
        await enter(one, "last")
        assert await heard_until(ann, "last") == ["+ida"]
        assert await heard_until(bob, "last") == ["+ida"]


async def test_who_reconnects_to_the_other_side_is_there_once(tmp_path: Path) -> None:
    """A client whose member is cut off comes back elsewhere, and its former socket goes later."""
    async with walled(tmp_path, 0.2) as (one, two, wall):
        ann, bob = await enter(one, "ann"), await enter(two, "bob")
        await settled(one, two, names=["ann", "bob"])
        await enter(one, "first")
        await settled(one, two, names=["ann", "bob", "first"])
        await heard_until(ann, "first")
        await cut(wall, one, two)
        await until_here(one, "ann", "first")
        again = await enter(one, "bob")
        await until_here(one, "ann", "bob", "first")
        await bob.disconnect()
        await mended(wall, one, two)
        await settled(one, two, names=["ann", "bob", "first"])
        assert again.connected
        await enter(one, "last")
        assert await heard_until(ann, "last") == ["+bob", "-bob"]


class TestNats:
    @pytest.mark.parametrize("count", [3])
    async def test_members_agree(self, tmp_path: Path, count: int) -> None:
        async with nats() as running, nats_members(file(tmp_path, 0), running, count) as found:
            clients = [await enter(member, f"user-{n}") for n, member in enumerate(found)]
            names = [f"user-{n}" for n in range(count)]
            await settled(*found, names=names)
            await enter(found[0], "last")
            assert await heard_until(clients[0], "last") == [f"+{name}" for name in names]
            await clients[1].disconnect()
            await settled(*found, names=["last", "user-0", "user-2"])
            assert await told(clients[2])

    @pytest.mark.parametrize("freezes", [False, True], ids=["killed", "frozen"])
    async def test_nats_is_away(self, tmp_path: Path, freezes: bool) -> None:
        """Nobody leaves because of that, and who came or left meanwhile is told when it is back."""
        async with nats() as running, nats_members(file(tmp_path, 0), running, 3) as found:
            one, two, _ = found
            ann, bob = await enter(one, "ann"), await enter(two, "bob")
            await settled(*found, names=["ann", "bob"])
            await enter(one, "first")
            await settled(*found, names=["ann", "bob", "first"])
            await heard_until(ann, "first")
            if freezes:
                running.freeze()
            else:
                await running.kill()
            await until(lambda: not any(each.bus.is_up for each in found))
            await bob.disconnect()
            await enter(two, "ida")
            if freezes:
                running.thaw()
            else:
                await running.start()
            await until(lambda: all(each.bus.is_up for each in found))
            await settled(*found, names=["ann", "first", "ida"])
            await enter(one, "last")
            assert await heard_until(ann, "last") == ["+ida", "-bob"]

    async def test_a_member_dies(self, tmp_path: Path) -> None:
        """It says no word: its beats stop, and the others tell its leave once."""
        async with nats() as running, nats_members(file(tmp_path, 0.2), running, 3) as found:
            one, two, three = found
            ann, bob = await enter(one, "ann"), await enter(two, "bob")
            await settled(*found, names=["ann", "bob"])
            await enter(one, "first")
            await settled(*found, names=["ann", "bob", "first"])
            await heard_until(ann, "first")
            await _die(two)
            await settled(one, three, names=["ann", "first"])
            await enter(three, "last")
            assert await heard_until(ann, "last") == ["-bob"]
            assert bob.connected


async def _die(member: NatsMember) -> None:
    client = member.bus._client
    member.bus.abort()
    if client is not None:
        await client.close()
