"""`serializer: msgpack` on the wire, on both transports."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
import pytest_asyncio

from tests.raw_client import Raw
from tests.socketio.test_msgpack import BAD, HEAD

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG = """
namespaces:
  /:
    routes:
      back: plugin.back
      reply: plugin.reply
      tell-all: plugin.tell_all
      ask: plugin.ask
      kick: plugin.kick
  /closed:
    connection_middleware: [plugin.refuse]
"""

PLUGIN = """
from gateway import Reject

async def back(ctx):
    await ctx.socket.emit("back", *ctx.args)

async def reply(ctx):
    return tuple(ctx.args)

async def tell_all(ctx):
    await ctx.namespace.emit("told", *ctx.args)

async def ask(ctx):
    await ctx.socket.emit("answered", *await ctx.socket.call("question", *ctx.args))

async def kick(ctx):
    await ctx.socket.disconnect()

async def refuse(ctx, next):
    raise Reject("no", "not so")
"""

SERVER = {"serializer": "msgpack"}


async def send(client: Raw, **fields: Any) -> None:
    await client.send(msgpack.packb({"nsp": "/", **fields}))


async def receive(client: Raw) -> dict[str, Any] | None:
    message = await client.receive()
    if message is None:
        return None
    assert isinstance(message, bytes), "a packet is one binary message"
    return dict(msgpack.unpackb(message))


@pytest_asyncio.fixture(loop_scope="module")
async def member(client: Raw) -> Raw:
    """A client that has joined `/`."""
    await send(client, type=0)
    answer = await receive(client)
    assert answer is not None
    assert answer == {"type": 0, "nsp": "/", "data": {"sid": answer["data"]["sid"]}}
    return client


async def test_an_event_carries_its_bytes(member):
    args = [1, "é", None, {"a": [b"\0", b""]}]
    await send(member, type=2, data=["back", *args])
    assert await receive(member) == {"type": 2, "nsp": "/", "data": ["back", *args]}


async def test_an_event_to_all_is_written_once_for_all(member, opened):
    async with opened() as other:
        await send(other, type=0)
        await receive(other)
        await send(member, type=2, data=["tell-all", b"\1"])
        for client in (member, other):
            assert await receive(client) == {"type": 2, "nsp": "/", "data": ["told", b"\1"]}


async def test_acks_go_both_ways(member):
    await send(member, type=2, data=["reply", b"\1"], id=0)
    assert await receive(member) == {"type": 3, "nsp": "/", "data": [b"\1"], "id": 0}
    await send(member, type=2, data=["ask", 1])
    assert await receive(member) == {"type": 2, "nsp": "/", "data": ["question", 1], "id": 1}
    await send(member, type=3, data=[b"\2"], id=1)
    assert await receive(member) == {"type": 2, "nsp": "/", "data": ["answered", b"\2"]}


async def test_f16_the_servers_disconnect_has_no_data(member):
    await send(member, type=2, data=["kick"])
    assert await receive(member) == {"type": 1, "nsp": "/"}


async def test_a_refusal_is_an_object(client):
    await send(client, type=0, nsp="/closed")
    assert await receive(client) == {
        "type": 4,
        "nsp": "/closed",
        "data": {"message": "not so", "data": {"code": "no"}},
    }
    await send(client, type=0, nsp="/nowhere")
    assert await receive(client) == {
        "type": 4,
        "nsp": "/nowhere",
        "data": {"message": "Invalid namespace"},
    }


@pytest.mark.parametrize("message", ['42["back"]', "40", "4", b"", HEAD, b"\x91" * 100_000])
async def test_what_is_no_packet_ends_the_session(member, message):
    await member.send(message)
    assert await receive(member) is None


async def test_every_violation_ends_its_session(opened, caplog):
    alive = []
    for name, fields in BAD.items():
        async with opened() as client:
            await send(client, type=0)
            await receive(client)
            await client.send(msgpack.packb(fields))
            if await receive(client) is not None:
                alive.append(name)
    assert alive == []
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_anything_before_connect_ends_the_session(client):
    await send(client, type=2, data=["back"])
    assert await receive(client) is None
