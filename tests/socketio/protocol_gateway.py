"""The gateway that the protocol is tested on."""

from __future__ import annotations

import json

__all__ = ["CONFIG", "ONE", "OTHER", "PLUGIN", "sid"]

CONFIG = """
namespaces:
  /:
    routes:
      nothing: plugin.nothing
      reply: plugin.reply
      back: plugin.back
      ask: plugin.ask
      tell-all: plugin.tell_all
      kick: plugin.kick
  /admin:
    connection_middleware: [plugin.greet]
    routes:
      reply: plugin.reply
      back: plugin.back
      ask: plugin.ask
  /closed:
    connection_middleware: [plugin.refuse]
"""

PLUGIN = """
from gateway import Reject

async def greet(ctx, next):
    await ctx.socket.emit("auth", dict(ctx.socket.handshake.auth))
    await next()

async def refuse(ctx, next):
    raise Reject("unauthorized", "Not authorized")

async def nothing(ctx):
    pass

async def reply(ctx):
    return tuple(ctx.args)

async def back(ctx):
    await ctx.socket.emit("back", *ctx.args)

async def ask(ctx):
    await ctx.socket.emit("answered", *await ctx.socket.call("question", *ctx.args))

async def tell_all(ctx):
    await ctx.namespace.emit("told", *ctx.args)

async def kick(ctx):
    await ctx.socket.disconnect()
"""

ONE = '{"_placeholder":true,"num":0}'
OTHER = '{"_placeholder":true,"num":1}'


def sid(packet: object, head: str = "40") -> str:
    """The id in a CONNECT packet, which has nothing but that in it."""
    assert isinstance(packet, str)
    assert packet.startswith(head)
    facts = json.loads(packet.removeprefix(head))
    assert list(facts) == ["sid"]
    assert isinstance(facts["sid"], str)
    return facts["sid"]
