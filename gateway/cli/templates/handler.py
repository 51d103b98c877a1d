"""The handlers of `plugin_name`."""

from gateway import Context


async def index(ctx: Context, text: str) -> dict[str, str]:
    # The event's arguments come as parameters; what does not fit is answered with `bad_request`.
    await ctx.socket.emit("plugin_name", f"you sent {text}")
    # What is returned is the ack, for a client that asked for one.
    return {"received": text}
