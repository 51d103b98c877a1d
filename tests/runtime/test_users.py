"""Users: who a socket is, users as targets, and how many sockets each may have."""

from __future__ import annotations

import asyncio
import logging

import pytest

from gateway.testing import Refused
from tests.runtime.doing import DO, heard

CONFIG = """
namespaces:
  /:
    user: data.who.name
    connection_middleware: [plugin.chain]
    routes: {do: plugin.do, connect: plugin.connected, disconnect: plugin.left}
  /open:
    routes: {do: plugin.do}
"""

PLUGIN = (
    DO
    + """
SEEN = []
LEFT = asyncio.Event()

async def chain(ctx, next):
    ctx.socket.data["who"] = ctx.socket.handshake.auth.get("who")
    SEEN.append(ctx.socket.user)
    await next()
    SEEN.append(ctx.socket.user)
    LEFT.set()

async def connected(ctx):
    SEEN.append(ctx.socket.user)
    ctx.log.info("hello")

async def left(ctx):
    user = ctx.socket.user
    SEEN.append((user, await ctx.namespace.user(user or []).count()))
"""
).replace("\nSEEN", "import asyncio\n\nSEEN", 1)


async def connect(gateway, user, namespace="/"):
    return await gateway.connect(namespace, auth={"who": {"name": user}})


async def do(client, code):
    [answer] = await client.call("do", code)
    return answer


async def test_a_user_is_known_from_the_acceptance_on(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        client = await connect(gateway, "ann")
        assert await do(client, "return ctx.socket.user") == "ann"
        other = await connect(gateway, None)
        assert await do(other, "return ctx.socket.user is None")
        assert await do(other, "return SEEN") == [None, "ann", None, None]
        await client.disconnect()
        code = "await LEFT.wait(); return [SEEN[4], SEEN[5]]"
        assert await do(other, code) == [["ann", 0], "ann"]


@pytest.mark.parametrize(
    ("value", "user"),
    [("42", "42"), (42, "42"), (-7, "-7"), ("", None), (None, None), ("\0user:x", "\0user:x")],
)
async def test_what_is_a_users_name(scenario, value, user):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        client = await connect(gateway, value)
        assert await do(client, "return [ctx.socket.user]") == [user]


@pytest.mark.parametrize("who", [None, 7, "ann", ["ann"], {"names": "ann"}])
async def test_a_path_that_leads_nowhere_is_nobody(scenario, who):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        client = await gateway.connect(auth={"who": who})
        assert await do(client, "return [ctx.socket.user]") == [None]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (True, "is of type bool"),
        (1.5, "is of type float"),
        ({"id": 1}, "is of type dict"),
        ("x" * 257, "is longer than 256 characters"),
    ],
)
async def test_what_is_no_name_is_an_error_of_the_plugin(scenario, caplog, value, found):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        with pytest.raises(Refused) as refused:
            await connect(gateway, value)
        assert refused.value.data == {"code": "internal"}
    [record] = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == (
        f"data.who.name {found}, but namespaces./.user takes it for a user's name"
    )


async def test_without_a_connection_chain_the_handshake_says_who_it_is(scenario, caplog):
    plugin = """
async def shake(ctx, next):
    ctx.data["who"] = ctx.handshake.query.get("who") or 1.5
    await next()

async def who(ctx):
    return ctx.socket.user
"""
    config = (
        "server: {handshake_middleware: [plugin.shake]}\n"
        "namespaces: {/: {user: data.who, routes: {who: plugin.who}}}"
    )
    async with scenario(config, plugin=plugin) as gateway:
        client = await gateway.connect(query="who=ann")
        assert await client.call("who") == ["ann"]
        with pytest.raises(Refused) as refused:
            await gateway.connect()
        assert refused.value.data == {"code": "internal"}
        assert "UsageError in connecting" in caplog.messages


async def test_a_user_is_a_target(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        ann, ann2, bob = [await connect(gateway, name) for name in ("ann", "ann", "7")]
        eve = await connect(gateway, "eve")
        await do(eve, "await ctx.namespace.user('ann').emit('a'); return 1")
        await do(eve, "await ctx.namespace.user('ann', 7).emit('b'); return 1")
        await do(eve, "await ctx.namespace.user(['ann']).to(ctx.socket.id).emit('c'); return 1")
        await do(eve, "await ctx.namespace.except_user('ann', ['7']).emit('d'); return 1")
        await do(eve, "await ctx.socket.broadcast.except_user(7).emit('e'); return 1")
        await do(eve, "await ctx.namespace.user([]).emit('f'); return 1")
        assert await heard(ann) == ["a", "b", "c", "e"]
        assert await heard(ann2) == ["a", "b", "c", "e"]
        assert await heard(bob) == ["b"]
        assert await heard(eve) == ["c", "d"]
        assert await do(eve, "return await ctx.namespace.user('ann').count()") == 2
        code = "return sorted(each.id for each in await ctx.namespace.user('ann').sockets())"
        assert await do(eve, code) == sorted([ann.id, ann2.id])
        assert await do(eve, "return await ctx.gateway.of('open').user('ann').count()") == 0


async def test_a_user_is_called_joins_leaves_and_is_disconnected(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        ann, eve = await connect(gateway, "ann"), await connect(gateway, "eve")
        call = asyncio.create_task(
            do(eve, "return dict((await ctx.namespace.user('ann').call('there?')).answers)")
        )
        await ann.answer(await ann.receive("there?"), "yes")
        assert await call == {ann.id: ["yes"]}
        await do(eve, "await ctx.namespace.user('ann').join('red'); return 1")
        assert await do(ann, "return sorted(ctx.socket.rooms)") == sorted(["red", ann.id])
        await do(eve, "await ctx.namespace.user('ann').leave('red'); return 1")
        assert await do(ann, "return list(ctx.socket.rooms)") == [ann.id]
        await do(eve, "await ctx.namespace.user('ann').disconnect_sockets(); return 1")
        await ann.wait_disconnected()
        assert await do(eve, "return await ctx.namespace.user('ann').count()") == 0


async def test_nobody_joins_or_leaves_the_room_of_a_user(scenario):
    """Plugins may let clients choose the names of rooms."""
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        ann, eve = await connect(gateway, "ann"), await connect(gateway, "eve")
        [answer] = await eve.call("do", "await ctx.socket.join('\\0user:ann')")
        assert answer == {
            "error": {"code": "forbidden_room", "message": "the room belongs to a user"}
        }
        [answer] = await eve.call("do", "await ctx.namespace.join('\\0user:ann')")
        assert answer["error"]["code"] == "forbidden_room"
        await do(ann, "await ctx.socket.leave('\\0user:ann'); return 1")
        await do(ann, "await ctx.namespace.leave('\\0user:ann'); return 1")
        await do(eve, "await ctx.namespace.user('ann').emit('still'); return 1")
        assert await heard(eve) == []
        assert await heard(ann) == ["still"]


@pytest.mark.parametrize("wrong", ["None", "True", "b'ann'", "[None]", "1.5"])
async def test_no_user_is_not_everybody(scenario, caplog, wrong):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        client = await connect(gateway, "ann")
        [answer] = await client.call("do", f"await ctx.namespace.user({wrong}).emit('oh')")
        assert answer["error"]["code"] == "internal"
        [record] = [each for each in caplog.records if each.exc_info]
        assert str(record.exc_info[1]).startswith("a user's name is text or a whole number, not ")


async def test_a_user_stays_when_data_changes_and_at_a_reload(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        client = await connect(gateway, "ann")
        await do(client, "ctx.socket.data['who'] = {'name': 'eve'}; return 1")
        assert await do(client, "return ctx.socket.user") == "ann"
        gateway._file.write_text(gateway._file.read_text().replace("data.who.name", "data.other"))
        await gateway.reload()
        assert await do(client, "return ctx.socket.user") == "ann"
        assert await do(client, "return await ctx.namespace.user('ann').count()") == 1
        new = await connect(gateway, "ann")
        assert await do(new, "return [ctx.socket.user]") == [None]


async def test_the_log_has_the_user(scenario, caplog):
    caplog.set_level(logging.INFO)
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        await connect(gateway, "ann")
        await connect(gateway, None)
    hellos = [vars(each) for each in caplog.records if each.getMessage() == "hello"]
    assert [each.get("user") for each in hellos] == ["ann", None]
    assert "user" not in hellos[1]


async def test_a_user_may_have_so_many_sockets_in_a_namespace(scenario, caplog):
    caplog.set_level(logging.INFO)
    config = "limits: {sockets_per_user: 1}" + CONFIG + "    user: data.none\n"
    config = config.replace(
        "  /open:",
        "  /two:\n    user: data.who.name\n"
        "    limits: {sockets_per_user: 2}\n    connection_middleware: [plugin.chain]\n  /open:",
    )
    async with scenario(config, plugin=PLUGIN) as gateway:
        first = await connect(gateway, "ann")
        with pytest.raises(Refused) as refused:
            await connect(gateway, "ann")
        assert refused.value.message == "too many connections of this user"
        assert refused.value.data == {"code": "busy", "data": {"retry_after": 1}}
        await connect(gateway, "bob")
        for _ in range(2):
            await connect(gateway, None)
            await gateway.connect("/open")
            await connect(gateway, "ann", "/two")
        with pytest.raises(Refused):
            await connect(gateway, "ann", "/two")
        assert gateway._server.engine.limits_met.counts["sockets_per_user"] == 2
        await first.disconnect()
        again = await connect(gateway, "ann")
        assert await do(again, "return await ctx.namespace.user('ann').count()") == 1
    one = next(each for each in caplog.messages if each.startswith("limit sockets_per_user"))
    assert one.endswith(
        ": a connection of user 'ann' is refused in /: to allow it, raise limits.sockets_per_user"
    )
    assert not [each for each in caplog.messages if "middleware 'plugin.chain'" in each]


async def test_a_lower_limit_keeps_those_who_are_there(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        clients = [await connect(gateway, "ann") for _ in range(3)]
        gateway._file.write_text("limits: {sockets_per_user: 2}" + gateway._file.read_text())
        await gateway.reload()
        with pytest.raises(Refused):
            await connect(gateway, "ann")
        assert await do(clients[2], "return await ctx.namespace.user('ann').count()") == 3
        for client in clients[:2]:
            await client.disconnect()
        await connect(gateway, "ann")


async def test_nothing_is_left_of_users_who_have_gone(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        clients = [await connect(gateway, name) for name in ("ann", "bob", "ann")]
        rooms = gateway._server.hub.rooms
        assert dict(rooms.by_user) == {"/ ann": 2, "/ bob": 1}
        for client in clients:
            await client.disconnect()
        assert not rooms.by_user
        assert not rooms._rooms
