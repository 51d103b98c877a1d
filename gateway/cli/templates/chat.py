"""Handlers for chat events."""

from gateway import Context


async def send(ctx: Context, text: str) -> dict[str, bool]:
    """`text` is the event's argument; the return value is the ack."""
    await ctx.namespace.emit("chat", ctx.socket.data["name"], text)
    return {"ok": True}


async def left(ctx: Context, reason: str) -> None:
    ctx.log.info("%s left: %s", ctx.socket.data["name"], reason)
    await ctx.namespace.emit("left", ctx.socket.data["name"])
