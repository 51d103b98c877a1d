"""What a cluster loses when its Redis fails over: as much as it counts. All members follow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.cluster.redis import RedisBus
from gateway.cluster.redis_connection import Server
from tests.cluster.lease_servers import RedisLease
from tests.cluster.redis_members import RedisMember, members
from tests.cluster.test_lease import SHORT, Cluster
from tests.cluster.test_redis_faults import CONFIG, Traffic
from tests.cluster.test_redis_server import connecting
from tests.deadline import until
from tests.gateway_files import write
from tests.programs.redis import Replicated, redis, replicated

FAILOVER = "SENTINEL FAILOVER main"
NOBODY = "127.0.0.1", 1


def server(*sentinels: tuple[str, int], **more: str) -> Server:
    return Server(sentinels=sentinels, master="main", **more)


async def port(bus: RedisBus) -> int:
    """The port of the Redis that a bus is on."""
    reply = await bus.ask(b"CONFIG", b"GET", b"port")
    found: dict[bytes, bytes] = reply if isinstance(reply, dict) else dict([reply])
    return int(found[b"port"])


@asynccontextmanager
async def running(
    folder: Path, sentinels: int
) -> AsyncIterator[tuple[Replicated, Traffic, list[RedisMember]]]:
    """Servers that can fail over, and two members with traffic."""
    async with replicated(folder, sentinels) as servers:
        await servers.know_each_other()
        file = write(folder, CONFIG)
        async with members(file, server(*servers.hosts)) as ours:
            traffic = Traffic(servers.master, ours)
            tasks = await traffic.listen()
            await traffic.emit(10)
            await until(lambda: len(traffic.far) == 10)
            try:
                yield servers, traffic, ours
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("sentinels", [1, 3])
async def test_the_master_is_killed(tmp_path: Path, sentinels: int) -> None:
    async with running(tmp_path, sentinels) as (servers, traffic, ours):
        await servers.master.kill()
        one, two = (member.bus for member in ours)
        await traffic.emit_while(lambda: one.is_up or two.is_up)
        await traffic.emit_while(lambda: not (one.is_up and two.is_up))
        await traffic.settle()
        traffic.check()
        assert all(bus.state.changes for bus in (one, two))
        assert {await port(one), await port(two)} == {servers.replica.port}


async def test_a_failover_while_the_master_lives(tmp_path: Path) -> None:
    """It is a master for ten seconds more, and what is published there reaches no other."""
    async with running(tmp_path, 1) as (servers, traffic, ours):
        one, two = (member.bus for member in ours)
        await servers.sentinels[0].says(b"+OK", FAILOVER)
        await traffic.emit_while(lambda: not (one.state.changes and two.state.changes))
        await traffic.settle()
        traffic.check()
        assert {await port(one), await port(two)} == {servers.replica.port}
        assert await servers.master.command("PUBLISH nobody here") == b":0"


async def test_a_master_that_becomes_a_replica_is_left() -> None:
    """Nobody's Sentinel tells: what is published at a replica stays there."""
    async with (
        redis() as master,
        redis() as former,
        connecting(Server(port=former.port)) as bus,
    ):
        await until(lambda: bus.is_up)
        assert await former.command("REPLICAOF 127.0.0.1", str(master.port)) == b"+OK"
        await until(lambda: bus.state.fault)
        assert bus.state.fault == "it is a replica, not a master"
        assert await former.command("REPLICAOF NO ONE") == b"+OK"
        await until(lambda: bus.is_up)


async def test_a_user_who_may_not_ask_for_the_role_stays() -> None:
    async with redis() as only:
        assert await only.command("ACL SETUSER default -role") == b"+OK"
        async with connecting(Server(port=only.port)) as bus:
            await until(lambda: bus.is_up)
            assert await bus._link._master.fault(bus._link.connection) == ""  # type: ignore[arg-type]


async def test_sentinels_that_go_take_nobody_along(tmp_path: Path) -> None:
    async with running(tmp_path, 3) as (servers, traffic, ours):
        master, link = servers.master.port, ours[0].bus._link
        for each in servers.sentinels[:2]:
            each.freeze()
        await servers.sentinels[2].kill()
        await until(lambda: not link._master._sentinel.is_open)  # type: ignore[union-attr]
        await traffic.settle()
        traffic.check()
        assert traffic.missed == 0
        assert {await port(member.bus) for member in ours} == {master}
        for each in servers.sentinels[:2]:
            each.thaw()
        await until(lambda: link._master._sentinel.is_open)  # type: ignore[union-attr]


@asynccontextmanager
async def a_lease(folder: Path, servers: Replicated) -> AsyncIterator[Cluster]:
    """Two members that follow a failover; the first has the lease."""
    await servers.know_each_other()
    at = RedisLease(servers.master, server(*servers.hosts))
    await at.put("free")
    found = Cluster(folder, at, SHORT)
    await found.join("tag-0")
    await found.noted("?tag-0", "+tag-0")
    await found.join("tag-1")
    await until(lambda: found.members["tag-1"].bus.is_up)
    yield found
    for tag in list(found.members):
        await found.leave(tag)
    found.check()


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "alive"])
async def test_a_service_never_runs_twice(tmp_path: Path, is_killed: bool) -> None:
    """Members come to the new master one after the other."""
    async with replicated(tmp_path) as servers, a_lease(tmp_path, servers) as found:
        if is_killed:
            await servers.master.kill()
        else:
            await servers.sentinels[0].says(b"+OK", FAILOVER)
        buses = [member.bus for member in found.members.values()]
        await until(lambda: all(bus.state.changes and bus.is_up for bus in buses))
        assert [await port(bus) for bus in buses] == [servers.replica.port] * 2
        holders = lambda: [bus.lease.is_here for bus in buses]  # noqa: E731
        await until(lambda: any(holders()) and found.notes()[-1][0] == "+")


# Sentinels that do not help


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[tuple[str, int]]:
    """Something that answers each command with the next of these, and then no more."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.read(1000)
            writer.write(answer)
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()
    finally:
        listener.close()


HELLO = b"%0\r\n"
WRONG = "it answers as no Sentinel does"
NONSENSE = {
    "http": ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "what answers is no Redis"),
    "number": ([HELLO, b":7\r\n"], WRONG),
    "empty": ([HELLO, b"*0\r\n"], WRONG),
    "one": ([HELLO, b"*1\r\n$1\r\nx\r\n"], WRONG),
    "numbers": ([HELLO, b"*2\r\n:1\r\n:2\r\n"], WRONG),
    "bytes": ([HELLO, b"*2\r\n$1\r\n\xff\r\n$1\r\n1\r\n"], WRONG),
    "port": ([HELLO, b"*2\r\n$1\r\nh\r\n$5\r\n70000\r\n"], WRONG),
    "nowhere": ([HELLO, b"*2\r\n$0\r\n\r\n$1\r\n7\r\n"], WRONG),
    "host": ([HELLO, b"*2\r\n$70\r\n" + b"x" * 70 + b"\r\n$1\r\n7\r\n"], "not the name of a host"),
    "busy": ([HELLO, b"-IDONTKNOW No idea\r\n"], "IDONTKNOW No idea"),
    "silent": ([], "it does not answer"),
}


@pytest.mark.parametrize("kind", NONSENSE)
async def test_one_that_answers_nonsense_is_passed_over(kind: str) -> None:
    answers, fault = NONSENSE[kind]
    async with redis() as master, answering(*answers) as bad:
        at = b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n" % (len(str(master.port)), master.port)
        async with answering(HELLO, at) as good, connecting(server(bad, good)) as bus:
            await until(lambda: bus.is_up)
        async with connecting(server(bad)) as bus:
            await until(lambda: bus.state.fault)
            assert fault in bus.state.fault


async def test_one_that_is_behind_is_passed_over(tmp_path: Path) -> None:
    """It tells a master that is a replica by now, or is gone; another knows better."""
    async with replicated(tmp_path) as servers:
        good = servers.hosts
        for old in (servers.replica.port, 1):
            told = b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n" % (len(str(old)), old)
            async with answering(HELLO, told) as behind:
                async with connecting(server(behind, NOBODY, *good)) as bus:
                    await until(lambda: bus.is_up)
                    assert await port(bus) == servers.master.port
                async with connecting(server(behind)) as bus:
                    await until(lambda: bus.state.fault)
                    assert f"127.0.0.1:{old}, says the Sentinel at" in bus.state.fault


async def test_one_that_never_told_our_master_moves_nobody(tmp_path: Path) -> None:
    """A Sentinel behind the others is reached after one that was right has gone."""
    other = b"*2\r\n$9\r\n127.0.0.1\r\n$1\r\n1\r\n"
    async with (
        replicated(tmp_path) as servers,
        answering(HELLO) as mute,
        answering(HELLO, other, other) as behind,
        connecting(server(*servers.hosts)) as bus,
    ):
        await until(lambda: bus.is_up)
        master, connection = bus._link._master, bus._link.connection
        assert connection is not None
        master._server = server(behind)
        master.close()
        for _ in range(2):
            assert await master.fault(connection) == ""
        master._server = server(mute)
        master.close()
        with pytest.raises(TimeoutError):
            await master.fault(connection)


@pytest.mark.parametrize(
    ("settings", "user", "password", "fault"),
    [
        (("requirepass secret",), "", "secret", ""),
        (("user gate on >secret +@all",), "gate", "secret", ""),
        (("requirepass secret",), "", "wrong", "WRONGPASS"),
        (("requirepass secret",), "", "", "NOAUTH"),
    ],
)
async def test_sentinels_have_a_password_of_their_own(
    tmp_path: Path, settings: tuple[str, ...], user: str, password: str, fault: str
) -> None:
    async with replicated(tmp_path, settings=settings) as servers:
        at = server(*servers.hosts, sentinel_username=user, sentinel_password=password)
        async with connecting(at) as bus:
            await until(lambda: bus.is_up or bus.state.fault)
            assert fault in bus.state.fault
            assert bus.is_up is not bool(fault)
            assert "secret" not in bus.state.fault
