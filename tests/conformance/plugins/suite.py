"""What the official Socket.IO test suite expects of a server."""

from __future__ import annotations

from gateway import Context, Next


async def greet(ctx: Context, next: Next) -> None:
    await ctx.socket.emit("auth", dict(ctx.socket.handshake.auth))
    await next()


async def message(ctx: Context) -> None:
    await ctx.socket.emit("message-back", *ctx.args)


async def message_with_ack(ctx: Context) -> object:
    return tuple(ctx.args)
