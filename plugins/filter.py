"""Logs every packet before and after its handler."""

from gateway import Context, Next


async def filter(ctx: Context, next: Next) -> None:
    ctx.log.info("%s", ctx.packet)
    await ctx.socket.emit("res", "packet!" + await ctx.service.user.say())
    await next()
    ctx.log.info("packet response!")
