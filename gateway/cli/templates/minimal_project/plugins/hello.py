"""The handler of the event `hello`."""

from gateway import Context


async def hello(ctx: Context, name: str) -> str:
    """`name` is the event's argument; the return value is the ack."""
    return f"Hello, {name}!"
