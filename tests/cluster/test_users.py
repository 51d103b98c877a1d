"""Users whose sockets several members have."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.testing import Refused, TestClient
from tests.cluster.gateways import GatewayMember, gateways
from tests.deadline import until
from tests.gateway_files import write

CONFIG = """
limits: {sockets_per_user: 3}
namespaces:
  /:
    user: data.name
    connection_middleware: [auth]
"""
PLUGIN = """
async def auth(ctx, next):
    ctx.socket.data["name"] = ctx.socket.handshake.auth["name"]
    await next()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path, CONFIG, auth=PLUGIN)


async def connect(member: GatewayMember, name: str) -> TestClient:
    return await member.connect(auth={"name": name})


async def test_a_user_is_a_target_on_every_member(file: Path) -> None:
    async with gateways(file, 3) as (one, other, third):
        here, there = await connect(one, "ann"), await connect(other, "ann")
        bob = await connect(third, "bob")
        ann = third.gateway.of("/").user("ann")
        await ann.emit("hi")
        for client in (here, there):
            assert (await client.receive()).name == "hi"
        assert await ann.count() == 2
        found = await ann.sockets()
        assert {each.id: each.user for each in found} == {here.id: "ann", there.id: "ann"}
        assert [sorted(each.rooms) for each in found if each.id == there.id] == [[there.id]]
        call = asyncio.create_task(_called(ann))
        for client in (here, there):
            await client.answer(await client.receive("where"), client.id)
        assert await call == {here.id: [here.id], there.id: [there.id]}
        await ann.join("red")
        await third.gateway.of("/").to("red").except_user("ann").emit("nobody")
        await third.gateway.of("/").except_user("ann").emit("bob only")
        await one.gateway.of("/").to("red").emit("both")
        assert (await bob.receive()).name == "bob only"
        for client in (here, there):
            assert (await client.receive()).name == "both"
        await ann.disconnect_sockets()
        for client in (here, there):
            await client.wait_disconnected()
        assert await ann.count() == 0
        assert bob.connected


async def _called(target):  # type: ignore[no-untyped-def]
    return (await target.call("where")).answers


async def test_sockets_of_a_user_are_counted_for_all_members(file: Path) -> None:
    async with gateways(file, 2) as (one, other):
        first = await connect(one, "ann")
        await connect(one, "ann")
        users = other._server.hub.rooms.by_user
        await until(lambda: users.in_all("/ ann") == 2)
        await connect(other, "ann")
        with pytest.raises(Refused) as refused:
            await connect(other, "ann")
        assert refused.value.data == {"code": "busy", "data": {"retry_after": 1}}
        await connect(other, "bob")
        await first.disconnect()
        await until(lambda: users.in_all("/ ann") == 2)
        await connect(other, "ann")
        one.mesh.close()
        await until(lambda: users.others == 0)
        await connect(other, "ann")
