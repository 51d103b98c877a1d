"""Limits that hold for all members of a machine together."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cluster.peer import Frame
from gateway.testing import Refused
from tests.cluster.gateways import GatewayMember, gateways
from tests.deadline import until
from tests.gateway_files import write

CONFIG = """
limits: {sockets: 4, sockets_per_address: 3}
namespaces: {/: {}}
"""
RATE = "connections_per_second: 5"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path, CONFIG)


async def test_sessions_are_counted_for_all_members(file: Path) -> None:
    async with gateways(file, 2) as (one, other):
        assert one.admits("10.0.0.1")
        assert other.admits("10.0.0.1")
        assert one.admits("10.0.0.1")
        await until(lambda: other.admitted_elsewhere == 2)
        await until(lambda: one.admitted_elsewhere == 1)
        assert not other.admits("10.0.0.1")
        assert not one.admits("10.0.0.1")
        assert other.admits("10.0.0.2")
        await until(lambda: one.admitted_elsewhere == 2)
        assert not one.admits("10.0.0.3")
        other.dismiss("10.0.0.1")
        await until(lambda: one.admitted_elsewhere == 1)
        assert one.admits("10.0.0.1")


async def test_sockets_of_a_namespace_are_counted_for_all_members(tmp_path: Path) -> None:
    file = write(tmp_path, "namespaces: {/small: {limits: {sockets: 2}}}")
    async with gateways(file, 2) as (one, other):
        first = await one.connect("/small")
        await until(lambda: other.sockets_elsewhere == 1)
        await other.connect("/small")
        with pytest.raises(Refused):
            await other.connect("/small")
        await first.disconnect()
        await until(lambda: other.sockets_elsewhere == 0)
        await other.connect("/small")


async def test_what_a_member_had_is_forgotten_when_it_ends(file: Path) -> None:
    async with gateways(file, 2) as (one, other):
        assert other.admits("10.0.0.1")
        await until(lambda: one.admitted_elsewhere == 1)
        other.mesh.close()
        await until(lambda: one.admitted_elsewhere == 0)
        assert [one.admits("10.0.0.1") for _ in range(4)] == [True, True, True, False]


async def test_a_member_that_joins_learns_what_there_is(file: Path) -> None:
    async with gateways(file, 2) as (one, other):
        one.mesh.close()
        await until(lambda: not other.mesh.peers)
        assert one.admits("10.0.0.1")
        assert one.admits("10.0.0.1")
        await one.rejoin(other)
        await until(lambda: other.admitted_elsewhere == 2)


async def test_a_change_while_a_member_joins_counts_once(file: Path) -> None:
    async with gateways(file, 2) as (one, other):
        one.mesh.close()
        await until(lambda: not other.mesh.peers)
        one.mesh.on_joined.insert(0, lambda peer: one.admits("10.0.0.1"))
        one.mesh.on_joined.append(lambda peer: one.admits("10.0.0.1"))
        await one.rejoin(other)
        one.admits("10.0.0.2")
        await until(lambda: other.admitted("10.0.0.2") == 1)
        assert other.admitted_elsewhere == 3


async def test_a_member_that_serves_later_learns_what_there_is(file: Path) -> None:
    async with gateways(file, 2) as (one, other):
        assert [one.admits("10.0.0.1") for _ in range(3)] == [True] * 3
        await until(lambda: other.admitted_elsewhere == 3)
        other.mesh.on_joined.clear()  # as a worker does whose first snapshot was not served
        other.mesh.on_lost.clear()
        async with GatewayMember(file, 2, mesh=other.mesh) as new:
            new.mesh.tell()
            await until(lambda: new.admitted_elsewhere == 3)
            assert not new.admits("10.0.0.1")
            one.dismiss("10.0.0.1")
            await until(lambda: new.admitted_elsewhere == 2)
            assert new.admits("10.0.0.1")


async def test_a_member_that_did_not_take_changes_is_told_of_them_later(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cluster.shares.RETRY", 0.01)
    async with gateways(file, 2) as (one, other):
        refused: list[Frame] = []
        with monkeypatch.context() as full:
            peer = one.mesh.peers[other.mesh.tag]
            full.setattr(peer, "send", lambda kind, *payload: refused.append(kind))
            assert one.admits("10.0.0.1")
            assert one.admits("10.0.0.1")
            await until(lambda: len(refused) >= 3)
        await until(lambda: other.admitted_elsewhere == 2)
        one.dismiss("10.0.0.1")
        await until(lambda: other.admitted_elsewhere == 1)


async def test_the_rate_of_new_sessions_is_that_of_all_members(tmp_path: Path) -> None:
    file = write(tmp_path, CONFIG.replace("sockets: 4, sockets_per_address: 3", RATE))
    async with gateways(file, 2) as (one, other):
        for member in (one, other):
            member.stop_clock(at=100.0)
        assert [one.admits("10.0.0.1") for _ in range(3)] == [True] * 3
        await until(lambda: other.admitted_elsewhere == 3)
        assert [other.admits("10.0.0.1") for _ in range(3)] == [True, True, False]
        await until(lambda: one.admitted_elsewhere == 2)
        assert not one.admits("10.0.0.1")
        for member in (one, other):
            member.stop_clock(at=100.25)
        assert one.admits("10.0.0.1")
        await until(lambda: other.admitted_elsewhere == 4)
        assert not other.admits("10.0.0.1")
