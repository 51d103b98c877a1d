"""What a cluster loses when Redis fails: as much as it counts, and nothing of its own clients."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from gateway.cluster.redis import RedisBus
from gateway.cluster.redis_channels import Channels
from gateway.cluster.redis_connection import Server, pack
from tests.cluster.redis_members import RedisMember, members, walled
from tests.deadline import until
from tests.gateway_files import write
from tests.programs.redis import Redis, redis

CONFIG = "namespaces: {/: }\n"


class Traffic:
    """A member that emits numbered events, and a client at each of two members that notes them."""

    def __init__(self, redis: Redis, ours: list[RedisMember]) -> None:
        self.redis = redis
        self.one, self.two = ours
        self.near: list[int] = []
        self.far: list[int] = []
        self.sent = 0

    async def listen(self) -> list[asyncio.Task[None]]:
        tasks = []
        for member, heard in ((self.one, self.near), (self.two, self.far)):
            client = await member.connect()

            async def read(client=client, heard=heard) -> None:
                while True:
                    heard.append((await client.receive("n", timeout=1000)).args[0])

            tasks.append(asyncio.create_task(read()))
        return tasks

    async def emit(self, count: int = 1) -> None:
        for _ in range(count):
            self.sent += 1
            await self.one.gateway.of("/").emit("n", self.sent)

    async def emit_while(self, condition: Callable[[], bool]) -> None:
        while condition():
            await self.emit()
            await asyncio.sleep(0.005)

    async def settle(self) -> None:
        """Wait until both members are up, know each other, and all has arrived or is counted."""
        for member in (self.one, self.two):
            await until(lambda member=member: member.bus.is_up and len(member.bus.members) == 1)
        await self.emit()
        await until(lambda: self.far and self.far[-1] == self.sent)
        await until(lambda: len(self.near) == self.sent)

    @property
    def missed(self) -> int:
        return self.two.bus.counts.missed

    def check(self) -> None:
        """Nothing came twice or out of order, and what is missing is what was counted."""
        assert self.near == list(range(1, self.sent + 1))
        assert self.far == sorted(set(self.far))
        assert self.sent - len(self.far) == self.missed


@pytest_asyncio.fixture
async def traffic(tmp_path: Path) -> AsyncIterator[Traffic]:
    async with redis() as running, members(write(tmp_path, CONFIG), running) as ours:
        found = Traffic(running, ours)
        tasks = await found.listen()
        await found.emit(10)
        await until(lambda: len(found.far) == 10)
        yield found
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_redis_is_killed_and_comes_back(
    traffic: Traffic, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sockgw.cluster")
    one, two = traffic.one.bus, traffic.two.bus
    await traffic.emit(100)
    await traffic.redis.kill()
    await traffic.emit_while(lambda: not one.counts.unpublished["away"])
    assert (one.is_up, two.is_up) == (False, False)
    await until(lambda: one.state.fault == "connection refused")
    await traffic.redis.start()
    await traffic.settle()
    traffic.check()
    assert traffic.missed >= one.counts.unpublished["away"] > 0
    assert (one.state.changes, one.state.fault) == (1, "")
    told = [each.message for each in caplog.records if each.name == "sockgw.cluster"]
    assert len([each for each in told if "is away" in each]) == 2
    assert len([each for each in told if each.startswith("connected")]) == 2


async def test_redis_is_frozen_and_goes_on(traffic: Traffic) -> None:
    one, two = traffic.one.bus, traffic.two.bus
    traffic.redis.freeze()
    await traffic.emit_while(lambda: one.is_up or two.is_up)
    assert len(traffic.near) > 0
    await traffic.emit_while(lambda: one.counts.unpublished["away"] < 20)
    await until(lambda: len(traffic.near) == traffic.sent)  # nobody here has waited
    traffic.redis.thaw()
    await traffic.settle()
    traffic.check()
    assert one.state.changes == 1


async def test_a_short_freeze_loses_nothing(traffic: Traffic) -> None:
    traffic.redis.freeze()
    await traffic.emit(50)
    traffic.redis.thaw()
    await traffic.settle()
    traffic.check()
    assert traffic.missed == 0
    assert traffic.one.bus.state.changes == 0


async def test_an_emptied_redis_changes_nothing(traffic: Traffic) -> None:
    await traffic.emit(10)
    assert await traffic.redis.command("FLUSHALL") == b"+OK"
    await traffic.settle()
    traffic.check()
    assert traffic.missed == 0


async def test_a_member_that_is_cut_off_counts_what_it_missed(traffic: Traffic) -> None:
    """The last ones too, after which nothing comes: the sender tells its numbers now and then."""
    connection = traffic.two.bus._link.connection
    assert connection is not None
    connection.close("cut")
    await traffic.emit(20)
    await until(lambda: traffic.missed > 0)
    assert traffic.sent - len(traffic.far) == traffic.missed
    await traffic.settle()
    traffic.check()


async def test_a_member_that_comes_back_is_told_what_it_missed(traffic: Traffic) -> None:
    """All were told the numbers while it was away, and nothing is sent after that."""
    async with _away(traffic.two):
        await traffic.emit(5)
        await _told_to_all(traffic.one)
    await until(lambda: traffic.missed == 5)
    traffic.check()
    assert traffic.one.bus.members == {"tag-1"}


async def test_a_sender_that_comes_back_tells_again_what_may_be_lost(traffic: Traffic) -> None:
    """Redis had its last messages, and the numbers that tell of them, but dies with them."""
    traffic.redis.freeze()
    await traffic.emit(5)
    await _told_to_all(traffic.one)
    async with _away(traffic.one):
        await traffic.redis.kill()
        await traffic.redis.start()
        await until(lambda: traffic.two.bus.state.changes and traffic.two.bus.is_up)
    await until(lambda: traffic.missed == 5)
    traffic.check()


async def test_answers_of_a_member_that_has_connected_again_are_none_that_were_missed(
    traffic: Traffic,
) -> None:
    one, two = traffic.one, traffic.two
    for _ in range(3):
        for member in (one, two):
            assert (await member.gateway.of("/").sockets()).missing == ()
        async with _away(two):
            pass
        await until(lambda: two.bus.is_up and one.bus.is_up)
        await _told_by(traffic, one, two)
    assert (one.bus.counts.missed, two.bus.counts.missed) == (0, 0)
    traffic.check()


async def test_answers_are_taken_of_a_member_that_had_lost_this_one(traffic: Traffic) -> None:
    """It numbers what is for this member anew."""
    one, two = traffic.one, traffic.two
    for _ in range(3):
        await two.gateway.of("/").sockets()
    async with _away(two):
        await until(lambda: not one.bus.members)
        assert set(two.bus.members) == {"tag-0"}
    await traffic.settle()
    assert (await two.gateway.of("/").sockets()).missing == ()
    traffic.check()


async def _told_by(traffic: Traffic, *members: RedisMember) -> None:
    """Wait until what members tell of their numbers has arrived: what follows it has."""
    await traffic.emit()
    await until(lambda: traffic.far[-1] == traffic.sent)


@asynccontextmanager
async def _away(member: RedisMember) -> AsyncIterator[None]:
    """Keep a member from Redis, without a word to the others."""
    link = member.bus._link
    assert link.connection is not None
    master = link._master
    server, master._server = master._server, Server(port=1)
    link.connection.close("cut")
    yield
    master._server = server


async def _told_to_all(member: RedisMember) -> None:
    """Wait until a member has told all its last numbers by a beat."""
    outgoing = member.emitter._outgoing
    await until(lambda: outgoing._told[1] == outgoing._numbers.last())


async def test_calls_tell_at_once_who_is_missing(traffic: Traffic) -> None:
    one = traffic.one
    await traffic.redis.kill()
    await until(lambda: not one.bus.is_up)
    found = await one.gateway.of("/").sockets()
    assert (len(found), found.missing) == (1, ("tag-1",))
    assert set(one.bus.members) == {"tag-1"}


async def test_volatile_events_do_not_wait_for_redis(traffic: Traffic) -> None:
    one = traffic.one
    await traffic.redis.kill()
    await until(lambda: not one.bus.is_up)
    before = one.bus.counts.unpublished["away"]
    await one.gateway.of("/").volatile.emit("n", 0)
    assert one.bus.counts.unpublished["away"] == before + 1


async def test_a_message_that_is_too_large_is_not_sent(traffic: Traffic) -> None:
    await traffic.one.gateway.of("/").emit("large", "x" * 1_000_000)
    await traffic.settle()
    assert traffic.one.bus.counts.unpublished == {"large": 1}
    assert traffic.missed == 1


async def test_what_redis_refuses_is_told(tmp_path: Path) -> None:
    async with redis("--requirepass", "secret") as running:
        member = RedisMember(write(tmp_path, CONFIG), running, "tag-0")
        member.bus.start()
        await until(lambda: member.bus.state.fault)
        assert "NOAUTH" in member.bus.state.fault
        await member.bus.close()


async def test_a_deaf_subscriber_connects_again(traffic: Traffic) -> None:
    """Redis answers it, but what is published does not reach it any more."""
    two = traffic.two.bus
    await traffic.emit(10)
    connection = two._link.connection
    assert connection is not None
    connection.send(pack((b"UNSUBSCRIBE",)) + pack((b"PUNSUBSCRIBE",)))
    await traffic.emit_while(lambda: not two.state.changes)
    await traffic.settle()
    traffic.check()
    assert traffic.missed > 0
    assert traffic.one.bus.state.changes == 0


async def test_redis_closes_the_connections_of_subscribers(traffic: Traffic) -> None:
    one, two = traffic.one.bus, traffic.two.bus
    await traffic.emit(10)
    assert (await traffic.redis.command("CLIENT KILL TYPE pubsub")).startswith(b":")
    await traffic.emit_while(lambda: not (one.state.changes and two.state.changes))
    await traffic.settle()
    traffic.check()
    assert (one.state.changes, two.state.changes) == (1, 1)


async def test_a_slow_member_is_cut_off_and_counts_what_it_missed(
    traffic: Traffic,
) -> None:
    limit = "CONFIG SET client-output-buffer-limit 'pubsub 200000 0 0'"
    assert await traffic.redis.command(limit) == b"+OK"
    connection = traffic.two.bus._link.connection
    assert connection is not None
    assert connection._transport is not None
    connection._transport.pause_reading()
    large = "x" * 900_000
    count = 0
    while not traffic.two.bus.state.changes:
        await traffic.one.gateway.of("/").emit("large", large)
        await traffic.emit()
        count += 1
        await asyncio.sleep(0.05)
    await traffic.settle()
    assert traffic.near == list(range(1, traffic.sent + 1))
    assert traffic.far == sorted(set(traffic.far))
    lost = traffic.sent - len(traffic.far)
    assert lost <= traffic.missed <= lost + count


async def test_a_user_without_channels_is_told(tmp_path: Path) -> None:
    async with redis() as running:
        acl = "ACL SETUSER gate on >secret +@all ~* resetchannels"
        assert await running.command(acl) == b"+OK"
        server = Server(port=running.port, username="gate", password="secret")
        bus = RedisBus("tag-0", server, Channels("test", "tag-0"))
        bus.start()
        await until(lambda: bus.state.fault)
        assert "NOPERM" in bus.state.fault
        await bus.close()


@pytest.mark.parametrize("way", ["both", "to_redis", "from_redis"])
async def test_a_member_behind_a_network_that_drops_everything(tmp_path: Path, way: str) -> None:
    """No connection is closed: packets are gone, each way or both."""
    file = write(tmp_path, CONFIG)
    async with redis() as running, walled(file, running) as (one, two, wall):
        traffic = Traffic(running, [one, two])
        tasks = await traffic.listen()
        await traffic.emit(10)
        await until(lambda: len(traffic.far) == 10)
        wall.drops = {"to_redis", "from_redis"} if way == "both" else {way}
        await traffic.emit_while(lambda: two.bus.is_up or one.bus.members)
        wall.drops = set()
        await traffic.settle()
        traffic.check()
        assert traffic.missed > 0
        assert one.bus.state.changes == 0
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_comes_before_a_member_is_known_to_be_back_is_not_missed(
    traffic: Traffic,
) -> None:
    """It was stopped for so long that it was lost, and emits before its next beat."""
    one, two = traffic.one.bus, traffic.two.bus
    two.beats.heard(msgspec.msgpack.encode((one.tag, "gone")))
    assert not two.members
    await traffic.emit(10)
    await until(lambda: len(traffic.far) == traffic.sent)
    await traffic.settle()
    traffic.check()
    assert traffic.missed == 0
    assert two.counts.members_lost == 1
