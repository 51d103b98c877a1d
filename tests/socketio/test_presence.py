"""Presence in one process: who is in a room, told once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.builtin import presence
from gateway.testing import TestClient, TestGateway
from tests.deadline import until
from tests.gateway_files import write

CONFIG = """
namespaces:
  /:
    user: data.name
    connection_middleware: [auth, {use: builtin.presence, with: {grace: GRACE, meta: look}}]
    routes: {enter: room.enter, leave: room.leave, here: builtin.present}
"""
AUTH = """
async def auth(ctx, next):
    ctx.socket.data.update(ctx.socket.handshake.auth)
    await next()
"""
ROOM = """
async def enter(ctx, room: str):
    await ctx.socket.join(room)
    return [each.as_dict() for each in await ctx.namespace.to(room).present()]

async def leave(ctx, room: str):
    await ctx.socket.leave(room)
"""


def gateway(folder: Path, grace: float = 0, config: str = CONFIG) -> TestGateway:
    return TestGateway(write(folder, config.replace("GRACE", str(grace)), auth=AUTH, room=ROOM), {})


async def told(client: TestClient) -> tuple[str | None, list[Any], list[Any]]:
    """The next joins and leaves that a client hears of."""
    (told,) = (await client.receive("presence")).args
    assert isinstance(told, Mapping)
    return told["room"], told["joins"], told["leaves"]


async def test_joins_and_leaves_are_told_once_for_all_sockets_of_a_user(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served:
        ann = await served.connect(auth={"name": "ann", "look": {"hat": 1}})
        assert await ann.call("enter", "red") == [[{"user": "ann", "meta": {"hat": 1}}]]
        assert await told(ann) == ("red", [{"user": "ann", "meta": {"hat": 1}}], [])
        bob, again = [await served.connect(auth={"name": "bob"}) for _ in range(2)]
        nobody = await served.connect()
        for client in (bob, again, nobody):
            await client.call("enter", "red")
        ((*_, found),) = [await nobody.call("here", "red")]
        assert [each.get("user", each.get("id")) for each in found] == ["ann", "bob", nobody.id]
        assert await told(ann) == ("red", [{"user": "bob"}, {"id": nobody.id}], [])
        await bob.call("leave", "red")
        await again.disconnect()
        assert await told(ann) == ("red", [], [{"user": "bob"}])
        assert await bob.call("here", "red") == [
            {
                "error": {
                    "code": "forbidden",
                    "message": "only those in a room are told who is there",
                }
            }
        ]
        assert await bob.call("here") == [
            {"error": {"code": "not_kept", "message": "no presence is kept of this"}}
        ]


async def test_who_comes_back_within_the_grace_has_never_left(tmp_path: Path) -> None:
    async with gateway(tmp_path, 3600) as served:
        ann = await served.connect(auth={"name": "ann"})
        bob = await served.connect(auth={"name": "bob"})
        for client in (ann, bob):
            await client.call("enter", "red")
        assert await told(ann) == ("red", [{"user": "ann"}, {"user": "bob"}], [])
        await bob.disconnect()
        bob = await served.connect(auth={"name": "bob"})
        assert await bob.call("enter", "red") == [[{"user": "ann"}, {"user": "bob"}]]
        await ann.call("leave", "red")
        await ann.call("enter", "red")
        presence = served._server.hub.presence
        await until(lambda: presence._timer is None)
        eve = await served.connect(auth={"name": "eve"})
        await eve.call("enter", "red")
        assert await told(ann) == ("red", [{"user": "eve"}], [])
        assert not presence._leaving


async def test_presence_of_a_whole_namespace_and_of_rooms_by_name(tmp_path: Path) -> None:
    options = "rooms: [game-*], namespace: true, grace"
    async with gateway(tmp_path, 0, CONFIG.replace("grace", options)) as served:
        ann = await served.connect(auth={"name": "ann"})
        assert await told(ann) == (None, [{"user": "ann"}], [])
        assert await ann.call("enter", "game-1") == [[{"user": "ann"}]]
        assert await told(ann) == ("game-1", [{"user": "ann"}], [])
        assert await ann.call("here") == [[{"user": "ann"}]]
        code = {"code": "internal", "message": "internal error"}
        assert await ann.call("enter", "other") == [{"error": code}]


async def test_a_reload_turns_it_off_and_on_for_those_who_are_there(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served:
        file = tmp_path / "gateway.yaml"
        text = file.read_text()
        ann = await served.connect(auth={"name": "ann"})
        await ann.call("enter", "red")
        assert await told(ann) == ("red", [{"user": "ann"}], [])
        file.write_text(text.replace("grace: 0", "grace: 1"))
        await served.reload()
        assert await ann.call("here", "red") == [[{"user": "ann"}]]
        file.write_text(text.replace(", {use: builtin.presence, with: {grace: 0, meta: look}}", ""))
        await served.reload()
        presence, rooms = served._server.hub.presence, served._server.hub.rooms
        assert len(presence.roster) == 0
        assert rooms.presence is None
        assert not presence._sockets
        assert not presence._counts
        await until(lambda: not presence.roster.has_changes)
        file.write_text(text)
        await served.reload()
        assert await ann.call("here", "red") == [[{"user": "ann"}]]
        assert await told(ann) == ("red", [{"user": "ann"}], [])


async def test_a_full_roster_lists_nobody_else(tmp_path: Path) -> None:
    async with gateway(tmp_path, 0, "limits: {presence: 1}" + CONFIG) as served:
        ann = await served.connect(auth={"name": "ann", "look": "x" * 999})
        bob = await served.connect(auth={"name": "bob"})
        for client in (ann, bob):
            assert await client.call("enter", "red") == [[{"user": "ann"}]]
        counts = served._server.engine.limits_met.counts
        assert counts["presence"] == 2
        await ann.call("leave", "red")
        assert await bob.call("enter", "blue") == [[{"user": "bob"}]]
        await bob.call("leave", "red")
        assert counts["presence"] == 2


@pytest.mark.parametrize("grace", [-1, 3601])
def test_grace_has_bounds(tmp_path: Path, grace: int) -> None:
    with pytest.raises(ValueError, match="option 'grace' must be 0 to 3600 seconds"):
        presence(grace=grace)
