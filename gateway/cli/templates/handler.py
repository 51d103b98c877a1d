"""Handlers for `plugin_name`."""

from gateway import Context


async def index(ctx: Context, text: str) -> dict[str, str]:
    # The event's arguments are the parameters; arguments that do not fit get `bad_request`.
    await ctx.socket.emit("plugin_name", f"you sent {text}")
    # The return value is the ack, if the client requested one.
    return {"received": text}
