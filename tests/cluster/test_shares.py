"""Limits that hold for all members of a machine together."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.testing import Refused
from tests.cluster.gateways import gateways
from tests.deadline import until
from tests.gateway_files import write

CONFIG = """
limits: {sockets: 4, sockets_per_address: 3}
namespaces: {/: {}}
"""


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
