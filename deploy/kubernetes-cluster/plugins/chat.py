from gateway import Context


async def index(ctx: Context, text: str) -> None:
    await ctx.namespace.emit("chat", text)
