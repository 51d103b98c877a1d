"""What clients could not read is refused where it is emitted, and harms nobody else.

F5: one NaN would make every client of a room close its connection. F13: so would nesting.
"""

from __future__ import annotations

import json
import logging

import pytest

from tests.raw_client import raw

CONFIG = """
namespaces:
  /:
    routes:
      emit: plugin.emit
      broadcast: plugin.broadcast
      call: plugin.call
      reply: plugin.reply
      hello: plugin.hello
  /chain:
    connection_middleware: [plugin.chain]
"""

PLUGIN = """
import math

deep = []
for _ in range(254):
    deep = [deep]
itself = []
itself.append(itself)

VALUES = {
    "nan": math.nan,
    "inf": {"a": [None, -math.inf]},
    "deep": deep,
    "itself": itself,
    "set": {1, 2},
    "key": {1: 2},
    "huge": 10**30,
    "many": [b""] * 11,
    "placeholder": [{"_placeholder": True, "num": 9}, b""],
}

async def told(sending):
    try:
        await sending
    except Exception as error:
        return type(error).__name__, str(error)

async def emit(ctx, name):
    return await told(ctx.socket.emit("event", VALUES[name]))

async def broadcast(ctx, name):
    return await told(ctx.namespace.emit("event", VALUES[name]))

async def call(ctx, name):
    return await told(ctx.socket.call("event", VALUES[name]))

async def reply(ctx, name):
    return VALUES[name]

async def hello(ctx):
    return "hello"

async def chain(ctx, next):
    await ctx.socket.emit("told", *await told(ctx.socket.emit("event", math.nan)))
    await next()
"""

REASONS = {
    "nan": ("ValueError", "nan cannot be sent: JSON has no such number"),
    "inf": ("ValueError", "-inf cannot be sent: JSON has no such number"),
    "deep": ("ValueError", "data that nests too deep, or contains itself, cannot be sent"),
    "itself": ("ValueError", "data that nests too deep, or contains itself, cannot be sent"),
    "set": ("TypeError", "a value of type set cannot be sent"),
    "key": ("TypeError", "a key of type int cannot be sent: use text"),
    "huge": ("ValueError", "an integer beyond 64 bits cannot be sent: send it as text"),
    "many": ("ValueError", "more than 10 bytes objects cannot be sent in one packet"),
    "placeholder": (
        "ValueError",
        "an object with '_placeholder' cannot be sent along with bytes",
    ),
}
INTERNAL = '{"error":{"code":"internal","message":"internal error"}}'


@pytest.mark.parametrize("how", ["emit", "broadcast", "call"])
async def test_the_emitter_is_told_and_nothing_goes_out(gateway, how):
    async with gateway(CONFIG, plugin=PLUGIN) as url, raw(url) as client, raw(url) as other:
        await client.join()
        await other.join()
        for name, reason in REASONS.items():
            await client.send(f'421["{how}","{name}"]')
            assert json.loads(str(await client.receive()).removeprefix("431")) == [*reason]
        for each in (client, other):
            await each.send('422["hello"]')
            assert await each.receive() == '432["hello"]'


@pytest.mark.parametrize("name", REASONS)
async def test_a_reply_is_an_internal_error_and_logged_with_its_reason(gateway, caplog, name):
    async with gateway(CONFIG, plugin=PLUGIN) as url, raw(url) as client:
        await client.join()
        await client.send(f'421["reply","{name}"]')
        assert await client.receive() == f"431[{INTERNAL}]"
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == REASONS[name][1]


async def test_a_connection_chain_is_told_too(gateway):
    async with gateway(CONFIG, plugin=PLUGIN) as url, raw(url) as client:
        await client.join("/chain")
        assert await client.receive() == (
            '42/chain,["told","ValueError","nan cannot be sent: JSON has no such number"]'
        )
