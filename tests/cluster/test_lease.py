"""A service of which a cluster runs one: it moves, and two never run, whatever the servers do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from gateway.cluster.redis import RedisBus
from tests.cluster.lease_servers import ENGINES, LeaseServer, NatsLease, RedisLease, lease_server
from tests.cluster.redis_members import NatsMember, RedisMember
from tests.deadline import deadline, until
from tests.gateway_files import write
from tests.programs.nats import nats
from tests.programs.redis import redis

SHORT, LONG = 1.5, 100_000.0
"""Seconds of a lease that ends in a test, and of one that does not."""

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
        self, folder: Path, at: LeaseServer, lease: float, start: float = 0, stop: float = 0
    ) -> None:
        self.at = at
        self._notes = folder / "notes"
        self._notes.touch()
        config = CONFIG.replace("NOTES", str(self._notes)).replace("START", str(start))
        self._file = write(folder, config.replace("STOP", str(stop)), plugin=PLUGIN)
        self._lease = lease
        self._stacks: dict[str, AsyncExitStack] = {}
        self.members: dict[str, RedisMember | NatsMember] = {}

    async def join(self, *tags: str) -> None:
        for tag in tags:
            member = self.at.member(self._file, tag, self._lease)
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
        """Wait until the server says that a member holds the lease."""
        async with deadline():
            while not (await self.at.value()).startswith(tag):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)

    def cut(self, tag: str) -> None:
        """Cut a member off from the server."""
        bus = self.members[tag].bus
        if isinstance(bus, RedisBus):
            bus._link.abort()
        else:
            bus.abort()

    def check(self) -> None:
        """There were never two at a time."""
        running: set[str] = set()
        for sign, tag in ((note[0], note[1:]) for note in self.notes()):
            if sign == "+":
                assert not running, self.notes()
                running.add(tag)
            elif sign == "-":
                running.remove(tag)


@pytest.fixture(params=ENGINES)
async def at(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LeaseServer]:
    async with lease_server(request.param, tmp_path) as server:
        yield server


@asynccontextmanager
async def cluster(
    folder: Path, at: LeaseServer, lease: float = SHORT, start: float = 0, stop: float = 0
) -> AsyncIterator[Cluster]:
    """A cluster whose lease is free, with one member that has it."""
    await at.put("free")
    found = Cluster(folder, at, lease, start, stop)
    await found.join("tag-0")
    await until(lambda: "?tag-0" in found.notes())
    yield found
    for tag in list(found.members):
        await found.leave(tag)
    found.check()


async def test_the_next_member_has_it_at_once(tmp_path: Path, at: LeaseServer) -> None:
    """The lease would last a day: it is given back."""
    async with cluster(tmp_path, at, LONG) as found:
        await found.join("tag-1", "tag-2")
        await until(lambda: len(found.members["tag-1"].bus.members) == 2)
        for _ in range(5):
            assert len(found.notes()) == 2
        await found.leave("tag-0")
        await until(lambda: len(found.notes()) == 5)
        assert found.notes()[2] == "-tag-0"
        assert found.notes()[-1] in {"+tag-1", "+tag-2"}


async def test_it_moves_when_its_member_is_cut_off_or_dies(tmp_path: Path, at: LeaseServer) -> None:
    async with cluster(tmp_path, at) as found:
        await found.join("tag-1")
        found.cut("tag-0")
        await found.noted("+tag-0", "-tag-0", "?tag-1", "+tag-1")


async def test_one_that_does_not_end_in_time_is_cancelled(tmp_path: Path, at: LeaseServer) -> None:
    async with cluster(tmp_path, at, stop=1000) as found:
        await found.join("tag-1")
        found.cut("tag-0")
        await found.noted("+tag-0", "-tag-0", "?tag-1", "+tag-1")
        found.cut("tag-1")
        await found.noted("-tag-1")


async def test_one_that_has_not_started_when_the_lease_goes_does_not_start(
    tmp_path: Path, at: LeaseServer
) -> None:
    async with cluster(tmp_path, at, start=1000) as found:
        await found.join("tag-1")
        found.cut("tag-0")
        await found.noted("?tag-0", "?tag-1")
        assert not found.members["tag-0"].bus.lease.is_here


async def test_it_ends_while_the_server_is_frozen(tmp_path: Path, at: LeaseServer) -> None:
    async with cluster(tmp_path, at) as found:
        await found.join("tag-1")
        await found.noted("+tag-0")
        at.server.freeze()
        await found.noted("-tag-0")
        at.server.thaw()
        await until(lambda: found.notes()[-1][0] == "+")


async def test_a_short_freeze_does_not_move_it(tmp_path: Path, at: LeaseServer) -> None:
    async with cluster(tmp_path, at, LONG) as found:
        await found.join("tag-1")
        at.server.freeze()
        await until(lambda: not any(each.bus.is_up for each in found.members.values()))
        at.server.thaw()
        await until(lambda: all(each.bus.is_up for each in found.members.values()))
        found.members["tag-0"].bus.lease.hurry()
        assert found.notes() == ["?tag-0", "+tag-0"]


async def test_an_emptied_server_does_not_move_it(tmp_path: Path, at: LeaseServer) -> None:
    """Others wait for a whole lease when there is none; its holder writes it again."""
    async with cluster(tmp_path, at) as found:
        await found.join("tag-1", "tag-2")
        for _ in range(3):
            await at.empty()
            for each in ("tag-1", "tag-2"):
                found.members[each].bus.lease.hurry()
            await found.held("tag-0")
        assert found.notes() == ["?tag-0", "+tag-0"]


async def test_a_server_that_is_started_again_empty(tmp_path: Path, at: LeaseServer) -> None:
    async with cluster(tmp_path, at) as found:
        await found.join("tag-1", "tag-2")
        for _ in range(2):
            before = len(found.notes())
            await at.server.kill()
            await until(lambda before=before: len(found.notes()) > before)  # it ends
            await at.server.start()
            await until(lambda: found.notes()[-1][0] == "+")


async def test_a_server_with_an_old_lease_does_not_let_two_run(
    tmp_path: Path, at: LeaseServer
) -> None:
    """It says that another holds it, who does not: so nobody does for a lease."""
    async with cluster(tmp_path, at) as found:
        await found.join("tag-1")
        await found.noted("+tag-0")
        await at.put("tag-9 1")
        await found.noted("-tag-0")
        await until(lambda: found.notes()[-1][0] == "+")


async def test_a_redis_that_refuses_it_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with redis() as server:
        assert await server.command("ACL SETUSER default -eval") == b"+OK"
        found = Cluster(tmp_path, RedisLease(server), SHORT)
        await found.join("tag-0")
        await until(lambda: "scope: cluster cannot run here: Redis says: NOPERM" in caplog.text)
        await found.leave("tag-0")
        assert found.notes() == []


DENIED = """
jetstream {{store_dir: "{folder}"}}
authorization {{users: [
  {{user: gate, password: x, permissions: {{publish: {{deny: ["$JS.>"]}}}}}}
]}}
no_auth_user: gate
"""
ALLOWED = """
jetstream {{store_dir: "{folder}"}}
authorization {{users: [
  {{user: gate, password: x, permissions: {{
    publish: ["socket%2Eio.>", "$JS.API.>", "$KV.sockgw.>"]
    subscribe: ["socket%2Eio.>", "_INBOX.>"]
  }}}}
]}}
no_auth_user: gate
"""
REFUSALS = {
    "without JetStream": ("", "JetStream is not enabled"),
    "without its bucket": (DENIED, "nats: permissions violation for publish to "),
}


@pytest.mark.parametrize("kind", REFUSALS)
async def test_a_nats_that_refuses_it_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    settings, why = REFUSALS[kind]
    file = tmp_path / "nats.conf"
    file.write_text(settings.format(folder=tmp_path / "jetstream"))
    async with nats("--config", str(file)) as server:
        found = Cluster(tmp_path, NatsLease(server), SHORT)
        await found.join("tag-0")
        told = f"scope: cluster cannot run here: NATS says: {why}"
        await until(lambda: told in caplog.text)
        await found.leave("tag-0")
        assert found.notes() == []


async def test_a_nats_user_may_do_what_is_needed(tmp_path: Path) -> None:
    """And nothing else, as documented."""
    file = tmp_path / "nats.conf"
    file.write_text(ALLOWED.format(folder=tmp_path / "jetstream"))
    async with nats("--config", str(file)) as server:
        found = Cluster(tmp_path, NatsLease(server), SHORT)
        await found.join("tag-0")
        await found.noted("?tag-0", "+tag-0")
        assert not found.members["tag-0"].bus.counts.unpublished
        await found.leave("tag-0")
