"""The gateway events `disconnecting`, `disconnect`, `error` and `cluster`."""

from __future__ import annotations

import pytest

CONFIG = """
namespaces:
  /:
    connection_middleware: [plugin.chain]
    packet_middleware: [plugin.never]
    routes:
      disconnecting: plugin.leaving
      disconnect: plugin.left
      error: plugin.failed
      fail: plugin.fail
  /watch:
    routes:
      seen: plugin.seen
"""

PLUGIN = """
import asyncio
from gateway import Reject

seen_so_far = asyncio.Queue()

async def chain(ctx, next):
    await ctx.socket.join("lobby")
    await next()
    seen_so_far.put_nowait(["unwound"])

async def never(ctx, next):
    assert ctx.event == "fail"
    await next()

async def leaving(ctx):
    await asyncio.sleep(0)
    seen_so_far.put_nowait([ctx.event, *ctx.args, "lobby" in ctx.socket.rooms])

async def left(ctx, reason):
    await asyncio.sleep(0)
    seen_so_far.put_nowait([ctx.event, reason, "lobby" in ctx.socket.rooms])

async def failed(ctx, code, message):
    seen_so_far.put_nowait([ctx.event, code, message])

async def fail(ctx, code):
    raise Reject(code, "as asked")

async def seen(ctx):
    return await seen_so_far.get()
"""


@pytest.mark.parametrize(
    ("how", "reason"),
    [("disconnect", "client namespace disconnect"), ("lose", "transport close")],
)
async def test_a_socket_ends_in_order(scenario, how, reason):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        watcher = await gateway.connect("/watch")
        client = await gateway.connect()
        await getattr(client, how)()
        assert [await watcher.call("seen") for _ in range(3)] == [
            [["disconnecting", reason, True]],
            [["disconnect", reason, False]],
            [["unwound"]],
        ]


async def test_the_error_route_hears_of_a_packet_that_failed(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        watcher = await gateway.connect("/watch")
        client = await gateway.connect()
        await client.call("fail", "busy")
        assert await watcher.call("seen") == [["error", "busy", "as asked"]]


async def test_a_gateway_event_whose_handler_fails_does_not_stop_the_rest(scenario, caplog):
    plugin = PLUGIN.replace("async def leaving(ctx):", "async def leaving(ctx):\n    1 / 0")
    async with scenario(CONFIG, plugin=plugin) as gateway:
        watcher = await gateway.connect("/watch")
        client = await gateway.connect()
        await client.disconnect()
        assert (await watcher.call("seen"))[0][0] == "disconnect"
        assert await watcher.call("seen") == [["unwound"]]
    assert "ZeroDivisionError in the route of the gateway event 'disconnecting'" in caplog.text


SENDING_AWAY = """
namespaces:
  /:
    connection_middleware: [plugin.stay]
    routes: {disconnecting: plugin.leaving, disconnect: plugin.left}
  /watch:
    routes: {ends: plugin.ends}
"""

SENDER = """
import asyncio

unwound, seen = asyncio.Queue(), []

async def stay(ctx, next):
    await next()
    unwound.put_nowait(ctx.socket.id)

async def leaving(ctx):
    seen.append([ctx.socket.id, "disconnecting"])
    for socket in await ctx.namespace.sockets():
        await socket.disconnect()

async def left(ctx):
    seen.append([ctx.socket.id, "disconnect"])

async def ends(ctx, count):
    return [await unwound.get() for _ in range(count)], seen
"""


async def test_who_leaves_may_send_away_all_others(scenario, caplog):
    """However many: their routes do not run one inside the other."""
    async with scenario(SENDING_AWAY, plugin=SENDER) as gateway:
        watcher = await gateway.connect("/watch")
        ids = [(await gateway.connect()).id for _ in range(299)]
        last = await gateway.connect()
        await last.lose()
        unwound, seen = await watcher.call("ends", 300)
        everybody = [last.id, *ids]
        assert sorted(unwound) == sorted(everybody)
        assert seen == [
            [each, event] for each in everybody for event in ("disconnecting", "disconnect")
        ]
        assert not caplog.records


async def test_a_published_event_runs_the_cluster_routes(scenario, caplog):
    config = """
    services: {seen: seen.Seen}
    namespaces:
      /: {routes: {say: plugin.say, cluster: plugin.heard}}
      /other: {routes: {cluster: plugin.wrong}}
    """
    plugin = """
    async def say(ctx, data):
        await ctx.gateway.publish("news", data, 7)
        return ctx.service.seen.all, ctx.gateway.member.number

    async def heard(ctx, event: str, *args):
        ctx.service.seen.all.append([ctx.namespace.name, ctx.event, event, *args])

    async def wrong(ctx):
        ctx.socket.id
    """
    seen = """
    class Seen:
        def __init__(self):
            self.all = []
    """
    async with scenario(config, plugin=plugin, seen=seen) as gateway:
        client = await gateway.connect()
        assert await client.call("say", b"x") == [[["/", "cluster", "news", b"x", 7]], 1]
        assert "a 'cluster' route has no ctx.socket" in caplog.text
        with pytest.raises(TypeError):
            await gateway.gateway.publish("news", object())
        with pytest.raises(TypeError):
            await gateway.gateway.publish(7)
        found = await gateway.gateway.of("/").emit("hi", confirm=True)
        assert (found.recipients, found.missing) == ({"": 1}, ())
        assert await gateway.gateway.of("/").count() == 1
