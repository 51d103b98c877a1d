"""What members serve, as they tell each other, and what comes of members of other versions."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from gateway.api import Member
from gateway.cluster import configurations
from gateway.cluster import messages as wire
from gateway.cluster.bus import Channel, Kind
from gateway.cluster.configurations import Configurations
from tests.cluster.gateways import GatewayMember, gateways
from tests.cluster.redis_members import RedisMember, members
from tests.deadline import until
from tests.gateway_files import write
from tests.programs.redis import redis

ONE, TWO = "1111111111111111", "2222222222222222"
MEMBERS = Channel(Kind.REQUEST, "/")


@pytest_asyncio.fixture
async def three(tmp_path: Path) -> AsyncIterator[list[GatewayMember]]:
    async with gateways(write(tmp_path, "namespaces: {/: }"), 3) as found:
        for member in found:
            serve(member, ONE)
        await settled(*found)
        yield found


def seen(member: Any) -> Configurations:
    found: Configurations = member.emitter.configurations
    return found


def serve(member: Any, fingerprint: str, version: str = "1.0") -> None:
    seen(member).serve(fingerprint, 1e9, version)


def prints(member: Any) -> list[str | None]:
    told = sorted(seen(member).members.items())
    return [serves and serves.fingerprint for _, serves in told]


async def settled(*found: GatewayMember) -> None:
    """Wait until the members have handled what each has sent: frames come in order."""
    for member in found:
        await member.gateway.of("/").count()


async def test_each_knows_what_all_serve(three: list[GatewayMember]) -> None:
    one, two, last = three
    assert [prints(each) for each in three] == [[ONE] * 3] * 3
    assert [seen(each).count for each in three] == [1] * 3
    serve(two, TWO, "2.0")
    await settled(two)
    assert [prints(each) for each in three] == [[ONE, TWO, ONE]] * 3
    assert [seen(each).count for each in three] == [2] * 3
    assert [seen(each).versions for each in three] == [["1.0", "2.0"]] * 3
    assert seen(one).began is not None
    told = seen(last).members["tag-2"]
    assert told is not None
    assert (told.since, told.worker, told.node, told.wire) == (1e9, 2, two.gateway.member.node, 1)
    serve(two, ONE)
    await settled(two)
    assert [seen(each).count for each in three] == [1] * 3
    assert seen(one).began is None


async def test_a_member_that_joins_is_told_and_one_that_is_lost_forgotten(tmp_path: Path) -> None:
    file = write(tmp_path, "namespaces: {/: }")
    async with redis() as server, members(file, server, 2) as (one, two):
        serve(one, ONE)
        serve(two, ONE)
        async with RedisMember(file, server, "tag-2") as last:
            serve(last, TWO)
            last.bus.start()
            everyone = (one, two, last)
            await until(lambda: all(prints(each) == [ONE, ONE, TWO] for each in everyone))
            await last.bus.close()
        await until(lambda: prints(one) == prints(two) == [ONE, ONE])
        assert (seen(one).count, seen(one).began) == (1, None)


async def test_what_was_lost_is_told_again(
    three: list[GatewayMember], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, _ = three
    monkeypatch.setattr(configurations, "AGAIN", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(two.mesh.peers["tag-1"], "send", lambda *frame: False)
        serve(two, TWO)
    await settled(two)
    assert prints(one) == [ONE] * 3
    seen(two).beat()
    await settled(two)
    assert prints(one) == [ONE, TWO, ONE]


async def test_drift_is_logged_once_by_one_worker_of_a_machine(
    three: list[GatewayMember], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sockgw.cluster")
    monkeypatch.setattr(configurations, "PATIENCE", 0.0)
    one, _, last = three
    serve(last, TWO)
    await settled(last)
    assert seen(one).drift == ""
    for _ in range(2):
        for each in three:
            seen(each).beat()
    node = one.gateway.member.node
    shares = f"11111111 on {node}; 22222222 on {node}"
    assert [seen(each).drift for each in three] == [shares] * 3
    serve(last, ONE)
    await settled(last)
    assert [seen(each).drift for each in three] == [""] * 3
    begins = "the members of the cluster have not served the same for 0 s"
    assert [(each.levelname, each.message) for each in caplog.records] == [
        ("WARNING", f"{begins}: {shares}; bring the same file and plugins to all"),
        ("INFO", "all members of the cluster serve the same again"),
    ]


async def test_a_change_that_is_on_its_way_is_no_drift(
    three: list[GatewayMember], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sockgw.cluster")
    one = three[0]
    for each in three:
        serve(each, TWO)
        await settled(each)
        seen(one).beat()
    assert (seen(one).drift, seen(one).began, caplog.messages) == ("", None, [])


def told(member: str, fingerprint: str, node: str) -> wire.Serves:
    return wire.Serves(
        uid=member,
        fingerprint=fingerprint,
        since=1e9,
        version="1.0",
        wire=wire.WIRE,
        worker=1,
        node=node,
    )


async def test_only_so_many_configurations_and_machines_are_named() -> None:
    serves = {f"{each}{node}": (each * 16, f"web-{node}") for each in "abcde" for node in range(6)}
    found = Configurations(Member("own", 1, "own"), serves.keys, lambda told, to: None)
    for member, (fingerprint, node) in serves.items():
        found.heard(told(member, fingerprint, node))
    found.serve("f" * 16, 1e9, "1.0")
    assert found.shares == (
        "ffffffff on own; aaaaaaaa on web-0, web-1, web-2, 3 more; "
        "bbbbbbbb on web-0, web-1, web-2, 3 more; 3 more"
    )


async def test_strangers_tell_nothing(three: list[GatewayMember]) -> None:
    one, two, _ = three
    for stranger in ("", "stranger", "tag-9"):
        one.bus.publish(MEMBERS, wire.encode(told(stranger, TWO, "web-1")))
    await settled(one)
    assert prints(two) == [ONE] * 3
    assert two.bus.counts.undecodable == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"since": -1.0},
        {"since": float("nan")},
        {"since": float("inf")},
        {"since": 1e300},
        {"since": "now"},
        {"node": "n" * 256},
        {"version": "v" * 65},
        {"fingerprint": "f" * 65},
        {"worker": 0},
        {"wire": 0},
    ],
    ids=str,
)
async def test_what_cannot_be_is_undecodable(
    three: list[GatewayMember], wrong: dict[str, object]
) -> None:
    one, two, _ = three
    message = msgspec.msgpack.decode(wire.encode(told("tag-1", TWO, "web-1")))
    one.bus.publish(MEMBERS, msgspec.msgpack.encode({**message, **wrong}))
    await settled(one)
    assert prints(two) == [ONE] * 3
    assert two.bus.counts.undecodable == 1


# Members of other versions


class LaterRequest(wire.Join, tag=250):
    """A request that only a later version knows."""


class LaterCount(wire.Count, tag=100):
    """One that has more in it in a later version."""

    hint: str = ""


class LaterBroadcast(wire.Broadcast, array_like=True):
    more: str = ""


@pytest.mark.parametrize("count", [1, 3])
async def test_a_request_of_a_later_version_is_ignored_and_counted_once(
    three: list[GatewayMember], count: int
) -> None:
    """It has arrived: what comes next does not count as missing it."""
    one, two, last = three
    for _ in range(count):
        one.emitter._outgoing.request("/", LaterRequest(opts=wire.Options(), rooms=["red"]))
    one.emitter._outgoing.request("/", LaterRequest(opts=wire.Options(), rooms=[]), "tag-2")
    await settled(one)
    assert [each.bus.counts.undecodable for each in (two, last)] == [count + 1, count]
    assert [each.bus.counts.missed for each in (two, last)] == [0, 0]


async def test_who_asks_what_a_former_version_does_not_know_hears_of_no_answer(
    three: list[GatewayMember],
) -> None:
    one = three[0]
    request = LaterRequest(opts=wire.Options(), rooms=["red"])
    found = await one.emitter.request(one.gateway.of("/"), request, 0.1)
    assert set(found.missing) == {"tag-2", "tag-3"}


async def test_what_a_later_version_adds_to_a_message_is_ignored(
    three: list[GatewayMember],
) -> None:
    one, two, last = three
    eve = await two.connect()
    request = LaterCount(opts=wire.Options(), hint="more")
    found = await one.emitter.request(one.gateway.of("/"), request, 60)
    assert [each[0].count for _, each in sorted(found.answers.items())] == [1, 0]
    message = LaterBroadcast("tag-1", wire.event("/", ["hi"]), wire.Options(), wire.Ours(), "more")
    message.ours = wire.Ours(number=1, time=1e9)
    one.bus.publish(Channel(Kind.BROADCAST, "/"), wire.encode(message))
    assert (await eve.receive("hi")).args == []
    assert [each.bus.counts.undecodable for each in (two, last)] == [0, 0]
