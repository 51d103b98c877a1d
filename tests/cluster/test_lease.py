"""A service of which a cluster runs one: it moves, and two never run, whatever Redis does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from gateway.cluster.redis_connection import Server
from tests.cluster.redis_members import RedisMember
from tests.deadline import deadline, until
from tests.gateway_files import write
from tests.programs.redis import Redis, redis

SHORT, LONG = 1.5, 100_000.0
"""Seconds of a lease that ends in a test, and of one that does not."""

KEY = "socket.io-lead"

CONFIG = """
services:
  ticker: {use: plugin.Ticker, scope: cluster, with: {notes: NOTES, start: START, stop: STOP}}
namespaces: {/: }
"""

PLUGIN = """
import asyncio

class Ticker:
    def __init__(self, gateway, notes, start, stop):
        self.tag, self.notes = gateway.member.tag, notes
        self.start, self.stop = start, stop
    def note(self, sign):
        with open(self.notes, "a") as file:
            file.write(sign + self.tag + "\\n")
    async def __aenter__(self):
        self.note("?")
        await asyncio.sleep(self.start)
        self.note("+")
        return self
    async def __aexit__(self, *error):
        try:
            await asyncio.sleep(self.stop)
        finally:
            self.note("-")
"""


class Cluster:
    """Members with a service of which one runs, and the notes that it takes."""

    def __init__(
        self,
        folder: Path,
        server: Redis,
        lease: float,
        start: float = 0,
        stop: float = 0,
        at: Server | None = None,
    ) -> None:
        self.redis = server
        self._at = at or server
        self._notes = folder / "notes"
        self._notes.touch()
        config = CONFIG.replace("NOTES", str(self._notes)).replace("START", str(start))
        self._file = write(folder, config.replace("STOP", str(stop)), plugin=PLUGIN)
        self._lease = lease
        self._stacks: dict[str, AsyncExitStack] = {}
        self.members: dict[str, RedisMember] = {}

    async def join(self, *tags: str) -> None:
        for tag in tags:
            member = RedisMember(self._file, self._at, tag, lease=self._lease)
            stack = AsyncExitStack()
            stack.push_async_callback(member.bus.close)  # after the services, as in the daemon
            await stack.enter_async_context(member)
            member.bus.start()
            self._stacks[tag], self.members[tag] = stack, member

    async def leave(self, tag: str) -> None:
        del self.members[tag]
        await self._stacks.pop(tag).aclose()

    def notes(self) -> list[str]:
        return self._notes.read_text().split()

    async def noted(self, *notes: str) -> None:
        """Wait until the last notes are these."""
        await until(lambda: self.notes()[-len(notes) :] == list(notes))

    async def held(self, tag: str) -> None:
        """Wait until Redis says that a member holds the lease."""
        async with deadline():
            while True:
                value = await self.members[tag].bus.ask(b"GET", KEY.encode())
                if value is not None and value.startswith(tag.encode()):
                    return
                await asyncio.sleep(0.01)

    def check(self) -> None:
        """There were never two at a time."""
        running: set[str] = set()
        for sign, tag in ((note[0], note[1:]) for note in self.notes()):
            if sign == "+":
                assert not running, self.notes()
                running.add(tag)
            elif sign == "-":
                running.remove(tag)


@asynccontextmanager
async def cluster(
    folder: Path, lease: float = SHORT, start: float = 0, stop: float = 0
) -> AsyncIterator[Cluster]:
    """A cluster whose lease is free, with one member that has it."""
    async with redis() as server:
        assert await server.command("SET", KEY, "free") == b"+OK"
        found = Cluster(folder, server, lease, start, stop)
        await found.join("tag-0")
        await until(lambda: "?tag-0" in found.notes())
        yield found
        for tag in list(found.members):
            await found.leave(tag)
        found.check()


async def test_the_next_member_has_it_at_once(tmp_path: Path) -> None:
    """The lease would last a day: it is given back."""
    async with cluster(tmp_path, LONG) as found:
        await found.join("tag-1", "tag-2")
        await until(lambda: len(found.members["tag-1"].bus.members) == 2)
        for _ in range(5):
            assert len(found.notes()) == 2
        await found.leave("tag-0")
        await until(lambda: len(found.notes()) == 5)
        assert found.notes()[2] == "-tag-0"
        assert found.notes()[-1] in {"+tag-1", "+tag-2"}


async def test_it_moves_when_its_member_is_cut_off_or_dies(tmp_path: Path) -> None:
    async with cluster(tmp_path) as found:
        await found.join("tag-1")
        found.members["tag-0"].bus._link.abort()
        await found.noted("+tag-0", "-tag-0", "?tag-1", "+tag-1")


async def test_one_that_does_not_end_in_time_is_cancelled(tmp_path: Path) -> None:
    async with cluster(tmp_path, stop=1000) as found:
        await found.join("tag-1")
        found.members["tag-0"].bus._link.abort()
        await found.noted("+tag-0", "-tag-0", "?tag-1", "+tag-1")
        found.members["tag-1"].bus._link.abort()
        await found.noted("-tag-1")


async def test_one_that_has_not_started_when_the_lease_goes_does_not_start(tmp_path: Path) -> None:
    async with cluster(tmp_path, start=1000) as found:
        await found.join("tag-1")
        found.members["tag-0"].bus._link.abort()
        await found.noted("?tag-0", "?tag-1")
        assert not found.members["tag-0"].bus.lease.is_here


async def test_it_ends_while_redis_is_frozen(tmp_path: Path) -> None:
    async with cluster(tmp_path) as found:
        await found.join("tag-1")
        await found.noted("+tag-0")
        found.redis.freeze()
        await found.noted("-tag-0")
        found.redis.thaw()
        await until(lambda: found.notes()[-1][0] == "+")


async def test_a_short_freeze_does_not_move_it(tmp_path: Path) -> None:
    async with cluster(tmp_path, LONG) as found:
        await found.join("tag-1")
        found.redis.freeze()
        await until(lambda: not any(each.bus.is_up for each in found.members.values()))
        found.redis.thaw()
        await until(lambda: all(each.bus.is_up for each in found.members.values()))
        found.members["tag-0"].bus.lease.hurry()
        assert found.notes() == ["?tag-0", "+tag-0"]


async def test_an_emptied_redis_does_not_move_it(tmp_path: Path) -> None:
    """Others wait for a whole lease when there is none; its holder writes it again."""
    async with cluster(tmp_path) as found:
        await found.join("tag-1", "tag-2")
        for _ in range(3):
            assert await found.redis.command("FLUSHALL") == b"+OK"
            for each in ("tag-1", "tag-2"):
                found.members[each].bus.lease.hurry()
            await found.held("tag-0")
        assert found.notes() == ["?tag-0", "+tag-0"]


async def test_a_redis_that_is_started_again_empty(tmp_path: Path) -> None:
    async with cluster(tmp_path) as found:
        await found.join("tag-1", "tag-2")
        for _ in range(2):
            before = len(found.notes())
            await found.redis.kill()
            await until(lambda before=before: len(found.notes()) > before)  # it ends
            await found.redis.start()
            await until(lambda: found.notes()[-1][0] == "+")


async def test_a_redis_with_an_old_lease_does_not_let_two_run(tmp_path: Path) -> None:
    """It says that another holds it, who does not: so nobody does for a lease."""
    async with cluster(tmp_path) as found:
        await found.join("tag-1")
        await found.noted("+tag-0")
        assert await found.redis.command("SET", KEY, "'tag-9 1'") == b"+OK"
        await found.noted("-tag-0")
        await until(lambda: found.notes()[-1][0] == "+")


async def test_a_redis_that_refuses_it_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with redis() as server:
        assert await server.command("ACL SETUSER default -eval") == b"+OK"
        found = Cluster(tmp_path, server, SHORT)
        await found.join("tag-0")
        await until(lambda: "scope: cluster cannot run here: Redis says: NOPERM" in caplog.text)
        await found.leave("tag-0")
        assert found.notes() == []
