"""The handlers of the chat."""

from gateway import Context


async def send(ctx: Context, text: str) -> dict[str, bool]:
    """The event's argument comes as `text`; the return value goes back as the ack."""
    await ctx.namespace.emit("chat", ctx.socket.data["name"], text)
    return {"ok": True}


async def left(ctx: Context, reason: str) -> None:
    ctx.log.info("%s left: %s", ctx.socket.data["name"], reason)
    await ctx.namespace.emit("left", ctx.socket.data["name"])
