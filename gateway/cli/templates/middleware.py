"""What `plugin_name` lets through, and what not."""

from gateway import Context, Next


async def plugin_name(ctx: Context, next: Next) -> None:
    # Before next(): `raise Reject(code, message)`, of `gateway`, refuses; so does not calling it.
    await next()
    # After next(), in a packet chain: the handler is done, its answer is in `ctx.reply`.
    # After next(), in a connection chain: the client is gone.
    ctx.log.info("plugin_name is done with %s", ctx.event)
