"""What a bare python-socketio would let a client do, and the gateway does not.

F4: the names of its own events, and of its methods, are a client's to send.
"""

from __future__ import annotations

import json

import pytest

from tests.deadline import deadline
from tests.raw_client import raw

CONFIG = """
namespaces:
  /:
    connection_middleware: [plugin.chain]
    routes:
      "*": plugin.echo
      disconnect: plugin.left
      log: plugin.log
  /slow:
    connection_middleware: [plugin.slow]
    routes: {"*": plugin.echo}
"""

PLUGIN = """
import asyncio

happened = []
forever = asyncio.Event()

async def chain(ctx, next):
    happened.append(["connect", dict(ctx.socket.handshake.auth)])
    await next()
    happened.append(["unwound", ctx.socket.data.get("kept")])

async def slow(ctx, next):
    await forever.wait()

async def echo(ctx):
    ctx.socket.data["kept"] = ctx.event
    return [ctx.event, *ctx.args]

async def left(ctx):
    happened.append(["disconnect", *ctx.args])

async def log(ctx):
    return happened
"""

RESERVED = ["connect", "connect_error", "disconnect", "disconnecting", "newListener"]


@pytest.mark.parametrize("event", [*RESERVED, "removeListener"])
async def test_a_client_cannot_send_the_gateways_own_events(gateway, event):
    async with gateway(CONFIG, plugin=PLUGIN) as url, raw(url) as client, raw(url) as watcher:
        await client.join()
        await client.send(f'42["{event}",{{"REMOTE_ADDR":"10.0.0.1"}},{{"admin":true}}]')
        assert await client.receive() is None
        await watcher.join()
        await watcher.send('420["log"]')
        expected = '[["connect",{}],["disconnect","parse error"],["unwound",null],["connect",{}]]'
        assert await watcher.receive() == f"430[{expected}]"


async def test_a_clients_star_and_error_are_events_like_any_other(gateway):
    config = """
namespaces:
  /:
    routes: {"*": plugin.any, error: plugin.failed, log: plugin.log}
"""
    plugin = """
failures = []

async def any(ctx):
    return ctx.event, ctx.socket.id, *ctx.args

async def failed(ctx):
    failures.append(ctx.args)

async def log(ctx):
    return failures
"""
    async with gateway(config, plugin=plugin) as url, raw(url) as client, raw(url) as victim:
        sids = [json.loads(str(await each.join())[2:])["sid"] for each in (client, victim)]
        for event in ("*", "error"):
            await client.send(f'421["{event}","{sids[1]}"]')
            assert await client.receive() == f'431["{event}","{sids[0]}","{sids[1]}"]'
        await client.send('422["log"]')
        assert await client.receive() == "432[[]]"


async def test_a_client_cannot_reach_a_method_that_no_route_names(gateway):
    config = """
namespaces:
  /:
    routes: {chat: plugin.Chat.chat, disconnect: plugin.Chat.on_disconnect, "*": plugin.Chat.log}
"""
    plugin = """
class Chat:
    def __init__(self):
        self.happened = []

    async def chat(self, ctx):
        return "chat"

    async def on_connect(self, ctx):
        self.happened.append("on_connect")

    async def on_disconnect(self, ctx):
        self.happened.append("on_disconnect")

    async def log(self, ctx):
        return ctx.event, self.happened
"""
    async with gateway(config, plugin=plugin) as url, raw(url) as client:
        await client.join()
        for event in ("on_connect", "on_disconnect", "log", "__init__", "Chat.on_disconnect"):
            await client.send(f'421["{event}"]')
            assert await client.receive() == f'431["{event}",[]]'
        await client.send('422["chat"]')
        assert await client.receive() == '432["chat"]'


async def test_a_slow_connection_chain_holds_up_no_other_namespace(gateway):
    async with gateway(CONFIG, plugin=PLUGIN) as url, raw(url) as client:
        await client.send("40/slow,")
        assert str(await client.join()).startswith('40{"sid":')
        await client.send('421["hello"]')
        assert await client.receive() == '431[["hello"]]'


@pytest.mark.parametrize("packet", ['42["a"]', '421["a"]', "40"])
async def test_nothing_is_heard_while_the_chain_of_the_main_namespace_is_pending(gateway, packet):
    config = "namespaces:\n  /: {connection_middleware: [plugin.slow], routes: {a: plugin.echo}}\n"
    async with gateway(config, plugin=PLUGIN) as url, raw(url) as client:
        await client.send("40", packet)
        assert await client.receive() is None


async def test_connect_after_leaving_gives_a_new_socket(gateway):
    async with gateway(CONFIG, plugin=PLUGIN) as url, raw(url) as client:
        first = await client.join()
        await client.send("41", '42["a late event is no violation"]')
        second = await client.join()
        assert str(second).startswith('40{"sid":')
        assert first != second


async def test_the_query_of_a_namespace_is_not_its_name(gateway):
    async with gateway(CONFIG, plugin=PLUGIN) as url, raw(url) as client:
        assert str(await client.join("/?token=x")).startswith('40{"sid":')


async def test_an_unknown_namespace_is_refused_byte_for_byte_as_node_does(gateway):
    async with gateway(CONFIG, plugin=PLUGIN) as url, raw(url) as client:
        assert await client.join("/random") == '44/random,{"message":"Invalid namespace"}'
        assert str(await client.join()).startswith('40{"sid":')


async def test_half_an_emoji_is_replaced_and_the_session_lives(gateway):
    async with gateway(CONFIG, plugin=PLUGIN) as url, raw(url) as client:
        await client.join()
        await client.send('421["a","\\ud83d","\\\\ud83d","\\ud83d\\ude00"]')
        assert await client.receive() == '431[["a","\ufffd","\\\\ud83d","\U0001f600"]]'


async def test_the_parts_of_binary_events_never_interleave(gateway):
    config = "namespaces:\n  /:\n    routes: {go: plugin.go}\n"
    plugin = """
        import asyncio

        async def go(ctx):
            await asyncio.gather(*(
                ctx.socket.emit("part", bytes([n]), bytes([n, n])) for n in range(50)
            ))
    """
    async with gateway(config, plugin=plugin) as url, raw(url) as client:
        await client.join()
        await client.send('42["go"]')
        for n in range(50):
            assert str(await client.receive()).startswith('452-["part",')
            assert await client.receive() == bytes([n])
            assert await client.receive() == bytes([n, n])


async def test_what_is_sent_just_before_a_disconnect_still_arrives(gateway):
    config = "namespaces:\n  /:\n    routes: {go: plugin.go}\n"
    plugin = """
        async def go(ctx):
            for n in range(100):
                await ctx.socket.emit("line", n)
            await ctx.socket.disconnect()
    """
    async with gateway(config, plugin=plugin) as url, raw(url) as client:
        await client.join()
        await client.send('42["go"]')
        assert [await client.receive() for _ in range(100)] == [
            f'42["line",{n}]' for n in range(100)
        ]
        assert await client.receive() == "41"


async def test_the_handshake_shows_the_peers_real_address_and_request(gateway):
    config = "namespaces:\n  /:\n    routes: {go: plugin.go}\n"
    plugin = """
        async def go(ctx):
            shake = ctx.socket.handshake
            return [
                shake.address, shake.query["EIO"], shake.headers["host"], shake.secure,
                shake.url.startswith("/socket.io/?"), shake.time > 1e9, dict(shake.auth),
            ]
    """
    async with gateway(config, plugin=plugin) as url, raw(url) as client:
        await client.join(auth='{"token":"x"}')
        await client.send('421["go"]')
        host = url.removeprefix("http://")
        assert await client.receive() == (
            f'431[["127.0.0.1","4","{host}",false,true,true,{{"token":"x"}}]]'
        )


async def test_a_thousand_unanswered_calls_leave_nothing_behind(gateway):
    config = "namespaces:\n  /:\n    routes: {go: plugin.go, tasks: plugin.tasks}\n"
    plugin = """
        import asyncio

        async def go(ctx):
            async def ask():
                try:
                    await ctx.socket.call("question")
                except ConnectionError:
                    pass
            for _ in range(1000):
                asyncio.create_task(ask(), name="ask")

        async def tasks(ctx):
            return sum(task.get_name() == "ask" for task in asyncio.all_tasks())
    """
    async with gateway(config, plugin=plugin) as url, raw(url) as watcher:
        await watcher.join()
        async with raw(url) as client:
            await client.join()
            await client.send('42["go"]')
            for _ in range(1000):
                await client.receive()
            await watcher.send('420["tasks"]')
            assert await watcher.receive() == "430[1000]"
        left = None
        async with deadline():
            while left != "430[0]":
                await watcher.send('420["tasks"]')
                left = await watcher.receive()
