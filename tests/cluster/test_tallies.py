"""Tallies: what plugins count on all members of a machine together."""

from __future__ import annotations

import gc
import logging
from pathlib import Path
from typing import Any

import pytest

from gateway import ConfigError
from gateway.builtin.rate_limit import Buckets
from gateway.cluster.peer import Frame
from gateway.testing import TestClient, TestGateway
from tests.cluster.gateways import GatewayMember, gateways
from tests.deadline import until
from tests.gateway_files import write

VOTES = """
from collections import Counter
from gateway import Tally

HALF = chr(0xd83d)  # of a surrogate pair

class Votes:
    def __init__(self, tally: Tally, start: int = 0):
        self.count = Counter(here=start)
        self.tally = tally
        tally.heard = self.heard

    def heard(self, key, count):
        if key == "broken":
            raise LookupError(key)
        self.count["half" if key == HALF else key] += count

    async def vote(self, ctx, key, count=1):
        self.count[key] += count
        self.tally.add(HALF if key == "half" else key, count)

    async def count_of(self, ctx, key):
        return self.count[key]
"""
CONFIG = """
namespaces:
  /:
    routes:
      vote: votes.Votes.vote
      count: votes.Votes.count_of
"""
LIMITED = """
namespaces:
  /:
    packet_middleware: [{use: builtin.rate_limit, with: {rate: 3, per: 3600, by: BY, scope: node}}]
    routes: {"*": own.go}
"""
GO = "async def go(ctx): return ctx.event"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path, CONFIG, votes=VOTES)


async def pair(members: list[GatewayMember]) -> list[TestClient]:
    """A client of each member."""
    return [await member.connect() for member in members]


async def until_counted(client: TestClient, key: str, count: int) -> None:
    while await client.call("count", key) != [count]:
        pass


async def test_what_is_counted_on_one_member_is_heard_on_all_others(file: Path) -> None:
    async with gateways(file, 3) as members:
        one, other, third = await pair(members)
        await one.call("vote", "red")
        await one.call("vote", "red", 4)
        await one.call("vote", "half", 2)
        await other.call("vote", "blue")
        for client in (one, other, third):
            await until_counted(client, "red", 5)
            await until_counted(client, "blue", 1)
            await until_counted(client, "half", 2)


async def test_what_is_counted_in_one_turn_of_the_loop_goes_in_one_frame(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateways(file) as members:
        one, other = await pair(members)
        sent: list[Frame] = []
        peer = members[0].mesh.peers[members[1].mesh.tag]
        send = peer.send

        def noting(kind: Frame, *payload: bytes) -> bool:
            sent.append(kind)
            return send(kind, *payload)

        monkeypatch.setattr(peer, "send", noting)
        for _ in range(10):
            await one.emit("vote", "red")
        await until_counted(other, "red", 10)
        assert sent.count(Frame.TALLY) < 10


async def test_a_gateway_alone_hears_nothing(file: Path) -> None:
    async with TestGateway(file) as gateway:
        client = await gateway.connect()
        await client.call("vote", "red")
        assert await client.call("count", "red") == [1]


@pytest.mark.parametrize(
    ("key", "count", "fault"),
    [
        (7, 1, "TypeError: the key of a tally is text, not int"),
        ("red", 0, "ValueError: the count of a tally is 1 to 1000000000, not 0"),
        ("red", 10**9 + 1, "ValueError: the count of a tally is 1 to 1000000000, not 1000000001"),
    ],
)
async def test_what_cannot_be_counted_is_told_with_one_process_too(
    file: Path, caplog: pytest.LogCaptureFixture, key: Any, count: int, fault: str
) -> None:
    async with TestGateway(file) as gateway:
        client = await gateway.connect()
        (answer,) = await client.call("vote", key, count)
        assert answer["error"]["code"] == "internal"  # type: ignore[index,call-overload]
    assert fault in caplog.text


async def test_the_tally_is_no_option(tmp_path: Path) -> None:
    route = "{use: votes.Votes.vote, with: {tally: 1}}"
    file = write(tmp_path, CONFIG.replace("votes.Votes.vote", route), votes=VOTES)
    with pytest.raises(ConfigError) as refused:
        async with TestGateway(file):
            pass
    assert [each.message for each in refused.value.problems] == [
        "'votes.Votes.vote': option 'tally' is set by the gateway; remove it"
    ]
    assert not refused.value.warnings


async def test_a_plugin_that_fails_to_hear_is_logged(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateways(file) as members:
        one, other = await pair(members)
        await one.call("vote", "broken")
        await until(lambda: "LookupError: broken" in caplog.text)
        await one.call("vote", "red")
        await until_counted(other, "red", 1)
    said = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert [each.message for each in said] == [
        "a plugin failed to hear what was counted by other workers"
    ]


async def test_other_options_have_a_tally_of_their_own_and_the_same_survive_a_reload(
    file: Path,
) -> None:
    async with gateways(file) as members:
        one, other = await pair(members)
        await one.call("vote", "red")
        await until_counted(other, "red", 1)
        write(file.parent, f"{CONFIG}# changed")
        for member in members:
            await member.reload()
        await one.call("vote", "red")
        await until_counted(other, "red", 2)
        new = "{use: votes.Votes.vote, with: {start: 1}}"
        write(
            file.parent,
            CONFIG.replace("vote: votes.Votes.vote", f"vote: {new}\n      new: {new}").replace(
                "count: votes.Votes.count_of",
                "count: {use: votes.Votes.count_of, with: {start: 1}}",
            ),
        )
        await members[0].reload()
        await one.call("vote", "red")  # the other has no such tally yet
        for _ in range(2):  # when this comes back, it has taken what was sent before
            await members[0].gateway.of("/").emit("told", confirm=True)
        await members[1].reload()
        await one.call("vote", "red")
        await until_counted(one, "red", 2)
        await until_counted(other, "red", 1)


async def test_a_tally_is_given_back_with_its_plugin(file: Path) -> None:
    async with gateways(file) as members:
        assert [len(member.tallies) for member in members] == [1, 1]
        write(file.parent, "namespaces: {/: {}}")
        for member in members:
            await member.reload()

        def given_back() -> bool:
            gc.collect()
            return not any(len(member.tallies) for member in members)

        await until(given_back)


# builtin.rate_limit


def limited(tmp_path: Path, by: str) -> Path:
    return write(tmp_path, LIMITED.replace("BY", by), own=GO)


async def passes(client: TestClient, event: str = "go") -> bool:
    return await client.call(event) == [event]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens buckets were told of, each time."""
    told: list[int] = []
    take_elsewhere = Buckets.take_elsewhere

    def noting(self: Buckets, key: str, count: int, now: int) -> None:
        take_elsewhere(self, key, count, now)
        told.append(count)

    monkeypatch.setattr(Buckets, "take_elsewhere", noting)
    return told


@pytest.mark.parametrize("by", ["user", "address", "event"])
async def test_a_rate_of_the_node_holds_for_all_members(
    tmp_path: Path, by: str, taken: list[int]
) -> None:
    async with gateways(limited(tmp_path, by), 3) as members:
        one, other, third = await pair(members)
        assert await passes(one)
        assert await passes(one)
        await until(lambda: sum(taken) == 4)
        assert await passes(other)
        await until(lambda: sum(taken) == 6)
        assert not await passes(one)
        assert not await passes(other)
        (answer,) = await third.call("go")
        assert answer["error"]["code"] == "rate_limited"  # type: ignore[index,call-overload]
        assert await passes(third, "other") is (by == "event")


async def test_routes_with_the_same_options_have_a_limit_each(
    tmp_path: Path, taken: list[int]
) -> None:
    options = "{rate: 1, per: 3600, by: address, scope: node}"
    route = f"{{use: own.go, middleware: [{{use: builtin.rate_limit, with: {options}}}]}}"
    file = write(tmp_path, f"namespaces: {{/: {{routes: {{a: {route}, b: {route}}}}}}}", own=GO)
    async with gateways(file) as members:
        one, other = await pair(members)
        assert await passes(one, "a")
        await until(lambda: sum(taken) == 1)
        assert not await passes(other, "a")
        assert await passes(other, "b")
        await until(lambda: sum(taken) == 2)
        assert not await passes(one, "b")
