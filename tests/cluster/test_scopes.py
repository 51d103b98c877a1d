"""Services of which one of several members runs one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import ConfigError, Member, UsageError
from gateway.cluster.lead import Lead
from gateway.cluster.messages import Hello
from gateway.cluster.peer import Frame, Mesh
from gateway.testing import TestGateway
from tests.cluster.gateways import GatewayMember, gateways
from tests.cluster.meshes import join
from tests.deadline import until
from tests.gateway_files import write
from tests.runtime.doing import DO

CONFIG = """
services:
  ticker: {use: plugin.Ticker, scope: node}
  own: plugin.Own
namespaces:
  /:
    routes: {do: plugin.do}
"""

PLUGIN = (
    DO
    + """
class Own:
    pass

class Ticker:
    def __init__(self, gateway, name="first"):
        self.gateway, self.name = gateway, name
    async def __aenter__(self):
        if self.name == "wrong":
            raise ValueError("no")
        return self
    async def __aexit__(self, *error):
        pass
"""
)


def file(folder: Path, config: str = CONFIG) -> Path:
    return write(folder, config, plugin=PLUGIN)


def runs(member: GatewayMember) -> bool:
    current = member._server.live.current
    assert current is not None
    return "ticker" in current.service


async def lose(member: GatewayMember) -> None:
    """End a member's streams, as its death does."""
    for peer in member.mesh.peers.values():
        assert peer._transport is not None
        peer._transport.abort()
    await until(lambda: not member.mesh.peers)


async def test_one_member_runs_it_and_the_others_say_so(tmp_path: Path) -> None:
    async with gateways(file(tmp_path), 3) as members:
        assert [runs(each) for each in members] == [True, False, False]
        assert [each.services for each in members] == [2, 1, 1]
        here, there = [await each.connect() for each in members[:2]]
        name = "return ctx.service.ticker.name, 'own' in ctx.service"
        assert await here.call("do", name) == ["first", True]
        [answer] = await there.call("do", "return 'ticker' in ctx.service")
        assert answer is False
        current = members[1]._server.live.current
        assert current is not None
        with pytest.raises(UsageError) as raised:
            _ = current.service.ticker
        assert str(raised.value) == (
            "service 'ticker' runs on another member, because of its scope: test "
            "'ticker' in ctx.service, and reach it with ctx.gateway.publish"
        )


async def test_it_moves_when_its_member_dies(tmp_path: Path) -> None:
    async with gateways(file(tmp_path), 3) as members:
        one, two, last = members
        client = await two.connect()
        await lose(one)
        await until(lambda: runs(two))
        assert await client.call("do", "return ctx.service.ticker.name") == ["first"]
        assert not runs(last)
        assert (two.services, last.services) == (2, 1)


async def test_a_newcomer_does_not_take_it_away(tmp_path: Path) -> None:
    async with gateways(file(tmp_path), 2) as members:
        one, two = members
        await lose(one)
        await until(lambda: runs(two))
        again = GatewayMember(tmp_path / "gateway.yaml", 1, "again")
        await join(two.mesh, again.mesh)
        async with again:
            assert not runs(again)
            assert runs(two)
            again.mesh.close()
            await until(lambda: not again.mesh.peers)


async def test_a_member_that_was_joined_before_it_listened_knows_the_others(
    tmp_path: Path,
) -> None:
    async with gateways(file(tmp_path), 2) as members:
        one, two = members
        await lose(one)
        await until(lambda: runs(two))
        mesh, last = Mesh("again"), GatewayMember(tmp_path / "gateway.yaml", 3)
        dropped: list[bytes] = []
        mesh.on(Frame.BUS, lambda peer, payload: dropped.append(payload))  # it does not listen yet
        await join(two.mesh, mesh, last.mesh)
        await until(lambda: len(dropped) >= 2)
        again = GatewayMember(tmp_path / "gateway.yaml", 1, mesh=mesh)
        async with last, again:
            assert [runs(each) for each in (again, two, last)] == [False, True, False]
            await lose(two)
            await until(lambda: runs(again))
            assert not runs(last)
            for each in (last, again):
                each.mesh.close()
            await until(lambda: not again.mesh.peers and not last.mesh.peers)


async def test_a_reload_changes_it_where_it_runs(tmp_path: Path) -> None:
    async with gateways(file(tmp_path), 2) as members:
        one, two = members
        file(tmp_path, CONFIG.replace("scope: node", "scope: node, with: {name: second}"))
        for member in members:
            await member.reload()
        client = await one.connect()
        assert await client.call("do", "return ctx.service.ticker.name") == ["second"]
        assert not runs(two)
        file(tmp_path, CONFIG.replace("scope: node", "scope: node, with: {name: wrong}"))
        with pytest.raises(ConfigError):
            await one.reload()
        await until(lambda: (one.services, two.services) == (2, 1))
        file(tmp_path, CONFIG.replace("scope: node", "scope: member"))
        for member in members:
            await member.reload()
        assert [runs(one), runs(two)] == [True, True]


async def test_of_two_that_lead_the_lower_number_does() -> None:
    said: list[tuple[Hello, str | None]] = []
    lead = Lead(Member("two", 2, ""), lambda: others, lambda *each: said.append(each), lambda: None)
    others: list[str] = []
    await lead.decide()
    assert lead.is_here
    others.append("one")
    lead.joined("one")
    assert said[-1][0].leads
    lead.heard(Hello(uid="one", worker=1, node="", leads=True))
    assert not lead.is_here
    assert not said[-1][0].leads
    others.clear()
    lead.lost("one")
    assert lead.is_here


async def test_one_process_runs_all(tmp_path: Path) -> None:
    async with TestGateway(file(tmp_path)) as gateway:
        client = await gateway.connect()
        assert await client.call("do", "return ctx.service.ticker.name") == ["first"]


async def test_the_log_tells_where_a_service_runs_and_nothing_else_of_the_lead(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with gateways(file(tmp_path)) as (one, other):
        await lose(one)
        await until(lambda: runs(other))
        await one.rejoin(other)
        await until(lambda: not runs(other))
    assert [each.message for each in caplog.records if each.name.startswith("sockgw.")] == [
        "service ticker runs here now",
        "service ticker no longer runs here",
    ]
