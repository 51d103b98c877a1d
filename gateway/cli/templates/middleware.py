"""The middleware `plugin_name`."""

from gateway import Context, Next


async def plugin_name(ctx: Context, next: Next) -> None:
    # Before next(): to refuse, `raise Reject(code, message)` from `gateway`, or do not call next().
    await next()
    # After next(), in a packet chain: the handler is done; its return value is `ctx.reply`.
    # After next(), in a connection chain: the client is gone.
    ctx.log.info("plugin_name is done with %s", ctx.event)
