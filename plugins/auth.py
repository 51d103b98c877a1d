"""Greets each client, and logs when it leaves."""

from gateway import Context, Next


async def auth(ctx: Context, next: Next) -> None:
    await ctx.socket.emit("res", "auth!" + await ctx.service.user.say())
    await next()  # returns when the client is gone
    ctx.log.info("disconnect!")
