"""The work: an answer emitted, an answer as ack, a broadcast, an echo of bytes."""

from gateway import Context


async def chat(ctx: Context) -> None:
    await ctx.socket.emit("res", "Hello Man!!")


async def ask(ctx: Context) -> str:
    return "Hello Man!!"


async def broadcast(ctx: Context, text: str) -> None:
    await ctx.namespace.emit("news", text)


async def echo(ctx: Context, data: bytes) -> None:
    await ctx.socket.emit("echo", data)
