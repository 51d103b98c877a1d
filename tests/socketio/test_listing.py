"""Pages of sockets and rooms: in order, whole, and in many turns of the loop."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

from gateway.socketio.listing import TURN, list_rooms, list_sockets
from gateway.testing import TestGateway
from tests.gateway_files import write

CONFIG = """
namespaces: {/: {user: data.user, connection_middleware: [join]}}
"""
PLUGIN = """
async def join(ctx, next):
    auth = ctx.socket.handshake.auth
    ctx.socket.data["user"] = auth["user"]
    await ctx.socket.join(auth["rooms"])
    await next()
"""


async def turns_while(work: asyncio.Task[object]) -> int:
    """Count the turns of the loop until `work` is done."""
    turns = 0
    while not work.done():
        turns += 1
        await asyncio.sleep(0)
    return turns


async def test_others_have_their_turn_between(tmp_path: Path) -> None:
    async with TestGateway(write(tmp_path, CONFIG, join=PLUGIN)) as gateway:
        names = [f"room-{number:05}" for number in range(4 * TURN)]
        await gateway.connect(auth={"user": "ann", "rooms": names[::-1]})
        rooms = gateway._server.hub.rooms
        listing = asyncio.create_task(list_rooms(rooms, "/", "", 500))
        assert await turns_while(listing) >= 4
        assert list(await listing) == names[:500]
        assert await list_rooms(rooms, "/", names[-3], 500) == dict.fromkeys(names[-2:], 1)


async def test_users_are_no_rooms(tmp_path: Path) -> None:
    async with TestGateway(write(tmp_path, CONFIG, join=PLUGIN)) as gateway:
        for user in ("", "ann", "\U0010ffff" * 256, "\0"):
            await gateway.connect(auth={"user": user, "rooms": ["\0", "a"]})
        rooms = gateway._server.hub.rooms
        assert await list_rooms(rooms, "/", "", 500) == {"a": 4}


async def test_a_socket_may_leave_meanwhile(tmp_path: Path) -> None:
    async with TestGateway(write(tmp_path, CONFIG, join=PLUGIN)) as gateway:
        clients = [
            await gateway.connect(auth={"user": each, "rooms": []}) for each in ("ann", "eve")
        ]
        scope = gateway._server.hub.scope("/")
        listing = asyncio.create_task(list_sockets(gateway._server.hub.rooms, scope, "", 5))
        await asyncio.sleep(0)
        await clients[0].disconnect()
        page, total = await listing
        assert total == 2
        assert clients[1].id in {each.id for each in page}
        ids = sorted(client.id for client in clients)
        assert [each.id for each in page] in ([ids[0], ids[1]], [clients[1].id])


async def test_the_copy_of_all_names_is_not_scanned(tmp_path: Path) -> None:
    """The garbage collector pauses while a page is made, and never for longer."""
    async with TestGateway(write(tmp_path, CONFIG, join=PLUGIN)) as gateway:
        names = [f"room-{number:05}" for number in range(4 * TURN)]
        await gateway.connect(auth={"user": "ann", "rooms": names})
        rooms, scope = gateway._server.hub.rooms, gateway._server.hub.scope("/")
        for cancelled in (False, True):
            one = asyncio.create_task(list_rooms(rooms, "/", "", 5))
            await asyncio.sleep(0)
            assert not gc.isenabled()
            other = asyncio.create_task(list_sockets(rooms, scope, "", 5))
            await asyncio.sleep(0)
            if cancelled:
                one.cancel()
            await asyncio.wait({one, other})
            assert gc.isenabled()
        gc.disable()
        try:
            await list_rooms(rooms, "/", "", 5)
            assert not gc.isenabled()  # whoever has turned it off keeps it so
        finally:
            gc.enable()
