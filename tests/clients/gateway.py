"""The gateway that the clients visit."""

from __future__ import annotations

from tests.deadline import DEADLINE

__all__ = ["CONFIG", "PLUGIN"]

CONFIG = """
server: {serializer: %s, cors_origins: ["http://127.0.0.1:%s"]}
namespaces:
  /:
    routes:
      echo: plugin.echo
      reply: plugin.reply
      ask: plugin.ask
      count: plugin.count
      seen: plugin.seen
      kick: plugin.kick
      cut: plugin.cut
  /auth:
    connection_middleware: [plugin.door]
    routes: {reply: plugin.reply, who: plugin.who}
"""

PLUGIN = f"""
from gateway import Reject
from tests.clients import relay

async def echo(ctx):
    await ctx.socket.emit("echo", *ctx.args)

async def reply(ctx):
    return tuple(ctx.args)

async def ask(ctx):
    return tuple(await ctx.socket.call("question", *ctx.args, timeout={DEADLINE}))

async def count(ctx, number: int):
    for n in range(number):
        await ctx.socket.emit("tick", n)

async def seen(ctx, part: str, name: str):
    return getattr(ctx.socket.handshake, part).get(name)

async def kick(ctx):
    await ctx.socket.disconnect()

async def cut(ctx):
    relay.cut()

async def door(ctx, next):
    if ctx.socket.handshake.auth.get("token") != "secret":
        raise Reject("unauthorized", "log in first", {{"try": ["again", 1]}})
    await next()

async def who(ctx):
    return dict(ctx.socket.handshake.auth)
"""
