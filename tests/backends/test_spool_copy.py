"""The copy of a spool in Redis: what is in it, who takes it over, and what becomes of faults."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.backends.spool import Spool
from gateway.backends.spool_copy import PAGE, SpoolCopy
from gateway.backends.spool_file import Change, SpoolFolder
from gateway.cluster.redis_connection import Connection, Server
from gateway.cluster.redis_copies import RedisCopies
from gateway.config import SpoolConfig
from tests.deadline import until
from tests.programs.redis import Redis, redis

BOUNDS = SpoolConfig(entries=10_000, bytes=10_000_000)
MANY = 2 * PAGE + 200


class Cluster:
    """Members on a Redis, each with a spool; `there` are the tags of those that are there."""

    def __init__(self, running: Redis, folder: Path, stack: AsyncExitStack) -> None:
        self.redis, self.there = running, {"tag-1"}
        self._folder, self._stack = folder, stack
        self.server = Server(port=running.port)
        self.connections: dict[str, Connection] = {}
        self.reaped: list[str] = []

    async def copies(self, tag: str) -> RedisCopies:
        connection = await Connection.open(self.server, ignore, ignore)
        self.connections[tag] = connection
        self._stack.callback(connection.close)
        copies = RedisCopies(tag, "shop", connection.ask, lambda: self.there - {tag}, beat=0.01)
        copies.arrive()
        self.there.add(tag)
        return copies

    async def spool(self, tag: str, bounds: SpoolConfig = BOUNDS, *, closes: bool = True) -> Spool:
        copy = SpoolCopy(await self.copies(tag), "orders")
        copy.reaped = lambda: self.reaped.append(tag)
        folder = SpoolFolder(self._folder / tag, tag)
        spool = Spool("orders", folder, bounds, copy)
        await spool.open(0.0, tell=True)
        if closes:
            self._stack.push_async_callback(spool.close)
        copy.want(True)
        spool.write_soon()
        await until(lambda: copy.is_whole)
        return spool

    async def lost(self, tag: str) -> None:
        """Let a member be lost, as a machine is: its folder goes on to be there."""
        self.there.discard(tag)
        self.connections[tag].close()

    async def fields(self, tag: str, epoch: int = 1) -> dict[str, Any]:
        """What is in a copy, by the ids of sockets."""
        connection = await Connection.open(Server(port=self.redis.port), ignore, ignore)
        found = await connection.ask(b"HGETALL", f"shop-sessions-{tag}.{epoch}.orders".encode())
        connection.close()
        return {key.decode(): json.loads(end) for key, end in found.items() if key}


def ignore(what: object) -> None:
    """Take no notice."""


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with redis() as running, AsyncExitStack() as stack:
        yield Cluster(running, tmp_path, stack)


def message(kind: str, socket: str, **more: str) -> bytes:
    facts = {"type": kind, "id": f"{kind}-{socket}", "time": "then", "socket": {"id": socket}}
    return json.dumps({**facts, **more}).encode()


def come(socket: str) -> Change:
    lost = message("disconnect", socket, reason="gateway lost")
    return Change(socket, message("connect", socket), lost)


def gone(socket: str) -> Change:
    return Change(socket, message("disconnect", socket, reason="transport close"), None)


async def waiting(spool: Spool) -> list[dict[str, Any]]:
    return [json.loads(body) for _, body in await spool.next(10_000)]


async def test_it_has_who_is_there_and_the_ends_that_wait(cluster: Cluster) -> None:
    spool = await cluster.spool("tag-1")
    await spool.put([come("a"), come("b"), come("c")])
    await spool.put([gone("b"), Change("c", None, None)])
    found = await cluster.fields("tag-1")
    assert {key: end["reason"] for key, end in found.items()} == {
        "a": "gateway lost",
        "b": "transport close",
    }
    spool.forget((await spool.next(100))[-1][0], ["b"])
    while (await cluster.fields("tag-1")).keys() != {"a"}:
        pass
    assert spool.copy is not None
    await spool.copy.remove()
    assert await cluster.fields("tag-1") == {}
    assert await cluster.redis.command("EXISTS shop-sessions") == b":0"


async def test_ends_that_were_dropped_leave_it(cluster: Cluster) -> None:
    spool = await cluster.spool("tag-1", SpoolConfig(entries=3, bytes=1_000_000))
    await spool.put([come("a")])
    await spool.put([gone("a"), come("b")])
    await spool.put([come("c"), come("d")])
    spool.add(come("e"))
    while (await cluster.fields("tag-1")).keys() != {"b", "c", "d", "e"}:
        pass


async def test_it_is_written_anew_page_by_page(cluster: Cluster) -> None:
    spool = await cluster.spool("tag-1")
    assert spool.copy is not None
    sockets = [f"{number:05}" for number in range(MANY)]
    await spool.put([come(each) for each in sockets])
    await spool.put([gone(each) for each in sockets[: MANY // 2]])
    before = await cluster.fields("tag-1")
    assert len(before) == MANY
    assert await cluster.redis.command("FLUSHALL") == b"+OK"
    spool.copy.check()
    spool.write_soon()
    await until(lambda: not spool.copy.is_whole)  # type: ignore[union-attr]
    await until(lambda: spool.copy.is_whole)  # type: ignore[union-attr]
    assert await cluster.fields("tag-1") == before


async def test_what_there_was_stays_until_all_is_written_anew(cluster: Cluster) -> None:
    """A member that is lost in between loses nothing."""
    one, two = await cluster.spool("tag-1"), await cluster.spool("tag-2")
    await one.put([come(f"{number:05}") for number in range(MANY)])
    assert one.copy is not None
    one.copy.anew()
    await one.copy.go_on(lambda after, most: one._do(one._its.ends, 0, after, most))
    await one.copy.go_on(lambda after, most: one._do(one._its.ends, 0, after, most))
    await one.put([come("new")])
    assert not one.copy.is_whole
    await cluster.lost("tag-1")
    await until_taken(two, MANY + 1)
    found = await waiting(two)
    assert {each["socket"]["id"] for each in found} >= {"00000", f"{MANY - 1:05}", "new"}


async def until_taken(spool: Spool, count: int) -> None:
    assert spool.copy is not None
    while spool.copy.taken_over < count:
        await spool.adopt(1.0, tell=True)


async def test_it_goes_along_to_another_folder(cluster: Cluster, tmp_path: Path) -> None:
    one = await cluster.spool("tag-1", closes=False)
    copy = one.copy
    assert copy is not None
    await one.put([come("a"), come("b")])
    folder = SpoolFolder(tmp_path / "other", "tag-1")
    other = Spool("orders", folder, BOUNDS, SpoolCopy(copy.copies, "orders"))
    await other.open(0.0, tell=True)

    async def stop() -> None:
        """Nothing uses the former one."""

    other.follow(one, stop)
    other.add(gone("b"))
    await until(lambda: other.entries == 3 and other._its.copy.is_whole)
    assert other.copy is copy
    found = await cluster.fields("tag-1")
    assert {key: end["reason"] for key, end in found.items()} == {
        "a": "gateway lost",
        "b": "transport close",
    }
    assert other._its.copy.name == "tag-1.1.orders"
    await other.close()
    assert await cluster.fields("tag-1") == {}


async def test_one_of_the_others_takes_all_over(cluster: Cluster) -> None:
    one, two, three = [await cluster.spool(f"tag-{number}") for number in (1, 2, 3)]
    await one.put([come(f"{number:05}") for number in range(MANY)])
    await one.put([gone("00000")])
    await cluster.lost("tag-1")
    await until_taken(two, MANY)
    for _ in range(3):
        await three.adopt(1.0, tell=True)
    assert await waiting(three) == []
    found = {each["socket"]["id"]: each for each in await waiting(two)}
    assert len(found) == two.entries == MANY
    assert (found["00000"]["reason"], found["00000"]["time"]) == ("transport close", "then")
    late = found["00001"]
    assert (late["reason"], late["time"]) == ("member lost", "1970-01-01T00:00:01.000Z")
    assert len(await cluster.fields("tag-2")) == MANY  # if that one is lost in turn


async def test_another_follows_one_that_is_lost_over_it(cluster: Cluster) -> None:
    one, three = await cluster.spool("tag-1"), await cluster.spool("tag-3")
    await one.put([come(f"{number:05}") for number in range(MANY)])
    name = "tag-1.1.orders"
    two = await cluster.copies("tag-2")
    await cluster.lost("tag-1")
    assert await two.claim(name) == "won"
    pages = two.pages(name)
    first = await anext(pages)
    second = await anext(pages)
    await cluster.lost("tag-2")
    for _ in range(3):
        await three.adopt(1.0, tell=True)
    assert three.entries == 0  # the claim still holds
    assert await cluster.redis.command(f"DEL shop-reap-{name}") == b":1"  # as time does
    await until_taken(three, MANY - len(first))
    assert three.entries == MANY - len(first)
    assert {each["socket"]["id"] for each in await waiting(three)} >= {each for each, _ in second}


async def test_a_member_that_returns_has_a_copy_of_its_next_epoch(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = await cluster.spool("tag-1"), await cluster.spool("tag-2")
    assert one.copy is not None
    await one.put([come("a")])
    cluster.there.discard("tag-1")  # out of reach
    await until_taken(two, 1)
    cluster.there.add("tag-1")
    one.add(come("b"))
    await until(lambda: one.copy.epoch == 2 and one.copy.is_whole)  # type: ignore[union-attr]
    assert cluster.reaped == ["tag-1"]
    assert (await cluster.fields("tag-1", epoch=2)).keys() == {"a", "b"}
    assert "(tag-1.1.orders is now tag-1.2.orders)" in caplog.text
    for _ in range(3):
        await two.adopt(1.0, tell=True)
    assert two.entries == 1


async def test_an_epoch_that_nobody_finished_is_taken_over(cluster: Cluster) -> None:
    one, three = await cluster.spool("tag-1"), await cluster.spool("tag-3")
    assert one.copy is not None
    await one.put([come("a")])
    two = await cluster.copies("tag-2")
    assert await two.claim("tag-1.1.orders") == "won"
    await cluster.lost("tag-2")
    one.copy.check()
    one.write_soon()
    await until(lambda: one.copy.epoch == 2 and one.copy.is_whole)  # type: ignore[union-attr]
    await cluster.redis.command("DEL shop-reap-tag-1.1.orders")
    await until_taken(three, 1)
    assert (await cluster.fields("tag-1", epoch=2)).keys() == {"a"}


@pytest.mark.parametrize(
    "end",
    [
        b"no JSON",
        b"[]",
        b"{}",
        message("connect", "a"),
        message("disconnect", "b"),
        message("disconnect", "a", reason="x" * 5000),
        json.dumps({"type": "disconnect", "socket": {"id": "a"}, "id": 1, "time": "x"}).encode(),
        json.dumps({"type": "disconnect", "socket": "a", "id": "1", "time": "x"}).encode(),
    ],
)
async def test_what_is_no_end_of_a_socket_is_not_told(cluster: Cluster, end: bytes) -> None:
    one, two = await cluster.copies("tag-1"), await cluster.spool("tag-2")
    name = one.name("orders", 1)
    assert await one.begin(name)
    ends = {"a": end, "c": message("disconnect", "c", reason="gateway lost")}
    assert await one.write(name, ends, [], is_new=True)
    assert await one.complete(name)
    await cluster.lost("tag-1")
    await until_taken(two, 1)
    assert [each["socket"]["id"] for each in await waiting(two)] == ["c"]


async def test_names_of_others_are_left_alone(cluster: Cluster) -> None:
    two = await cluster.spool("tag-2")
    for name in ("x", "tag-1.x.orders", "tag-1.1.other", "tag-9.1"):
        await cluster.redis.command(f"SADD shop-sessions {name}")
    for _ in range(20):
        await two.adopt(1.0, tell=True)
    assert await cluster.redis.command("SCARD shop-sessions") == b":5"
    assert await cluster.redis.command("KEYS shop-reap*") == b"*0"


async def test_the_commands_that_are_documented_are_enough(tmp_path: Path) -> None:
    """With them a member begins, writes, looks, and takes another's copy over."""
    commands = [
        "eval",
        "get",
        "set",
        "exists",
        "expire",
        "unlink",
        "rename",
        "hget",
        "hset",
        "hdel",
        "hscan",
        "sadd",
        "srem",
        "smembers",
    ]
    documented = (Path(__file__).parents[2] / "docs/scaling.md").read_text()
    assert all(f"`{each.upper()}`" in documented for each in commands)
    async with redis() as running, AsyncExitStack() as stack:
        cluster = Cluster(running, tmp_path, stack)
        allowed = " ".join(f"+{each}" for each in ("hello", "ping", *commands))
        keys = "~shop-sessions* ~shop-reap-*"
        user = f"ACL SETUSER gate reset on >secret {keys} {allowed}"
        assert await running.command(user) == b"+OK"
        cluster.server = Server(port=running.port, username="gate", password="secret")
        one, two = await cluster.spool("tag-1"), await cluster.spool("tag-2")
        await one.put([come("a"), come("b")])
        await one.put([Change("b", None, None)])
        await cluster.lost("tag-1")
        await until_taken(two, 1)
        assert two.copy is not None
        await two.copy.remove()
        assert two.copy._is_told is False
        assert await running.command("SCARD shop-sessions") == b":0"


async def test_what_redis_refuses_is_logged_once(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    spool = await cluster.spool("tag-1")
    assert spool.copy is not None
    assert await cluster.redis.command("ACL SETUSER default -hset") == b"+OK"
    for socket in ("a", "b"):
        await spool.put([come(socket)])
        assert not spool.copy.is_whole
        spool.copy.check()
        spool.write_soon()
        await until(lambda: not spool._has_work)
    told = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(told) == 1
    assert told[0].startswith(
        "backend orders: machines cannot tell the ends of each other's sockets: Redis says: "
    )
    assert "hset" in told[0].lower()
    assert await cluster.redis.command("ACL SETUSER default +hset") == b"+OK"
    spool.copy.check()
    spool.write_soon()
    await until(lambda: spool.copy.is_whole)  # type: ignore[union-attr]
    assert (await cluster.fields("tag-1")).keys() == {"a", "b"}


class TestFileOfAMachineThatIsBack:
    """Its sockets' ends were told by another member, or were not."""

    async def left(self, cluster: Cluster, *, is_whole: bool = True) -> None:
        """Leave a file behind, as a machine does that fails."""
        one = await cluster.spool("tag-1")
        await one.put([come("a"), come("b")])
        if not is_whole:
            cluster.connections["tag-1"].close()
        await one.put([gone("b")])
        await until(lambda: one._its.copy.is_whole is is_whole)
        await cluster.lost("tag-1")
        one._its.close()

    async def test_they_are_not_told_again(self, cluster: Cluster, tmp_path: Path) -> None:
        await self.left(cluster)
        two = await cluster.spool("tag-2")
        await until_taken(two, 2)
        again = await self.again(cluster, tmp_path)
        await again.adopt(2.0, tell=True)
        assert await waiting(again) == []

    async def test_all_is_told_of_what_was_not_copied(
        self, cluster: Cluster, tmp_path: Path
    ) -> None:
        await self.left(cluster, is_whole=False)
        two = await cluster.spool("tag-2")
        await until_taken(two, 2)
        again = await self.again(cluster, tmp_path)
        await again.adopt(2.0, tell=True)
        assert len(await waiting(again)) == 4

    async def test_they_are_told_from_the_file_first(
        self, cluster: Cluster, tmp_path: Path
    ) -> None:
        await self.left(cluster)
        two = await cluster.spool("tag-2")
        again = await self.again(cluster, tmp_path)
        await again.adopt(2.0, tell=True)
        assert [each["id"] for each in await waiting(again)] == [
            *("connect-a", "connect-b", "disconnect-b", "disconnect-a")
        ]
        for _ in range(20):
            await two.adopt(1.0, tell=True)
        assert two.entries == 0

    async def test_a_claim_that_another_has_is_waited_for(
        self, cluster: Cluster, tmp_path: Path
    ) -> None:
        await self.left(cluster)
        two = await cluster.copies("tag-2")
        assert await two.claim("tag-1.1.orders") == "won"
        again = await self.again(cluster, tmp_path)
        await again.adopt(2.0, tell=True)
        assert again.entries == 0
        await two.finish("tag-1.1.orders")
        await again.adopt(2.0, tell=True)
        assert again.entries == 0
        assert not (tmp_path / "tag-1/1.sqlite").exists()

    async def test_while_redis_is_away_they_are_told(
        self, cluster: Cluster, tmp_path: Path
    ) -> None:
        await self.left(cluster)
        again = await self.again(cluster, tmp_path)
        cluster.connections["tag-4"].close()
        await again.adopt(2.0, tell=True)
        assert len(await waiting(again)) == 4

    async def again(self, cluster: Cluster, folder: Path) -> Spool:
        """The machine, which has another tag now."""
        (folder / "tag-1").rename(folder / "tag-4")
        spool = await cluster.spool("tag-4")
        (folder / "tag-1").symlink_to(folder / "tag-4")
        return spool
