"""Handlers for chat events."""

import os

from gateway import Context


async def index(ctx: Context) -> None:
    message = ctx.args[0] if ctx.args else ""
    ctx.log.info("chat : %s : %d", message, os.getpid())
    await ctx.socket.emit("res", await ctx.service.user.say())
