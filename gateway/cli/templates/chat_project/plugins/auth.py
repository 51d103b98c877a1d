"""Checks who connects, and remembers the name."""

from gateway import Context, Next, Reject


async def auth(ctx: Context, next: Next) -> None:
    name = ctx.socket.handshake.auth.get("name", "guest")
    if not isinstance(name, str) or not 0 < len(name) <= 20:
        raise Reject("bad_name", "a name is text of up to 20 characters")
    ctx.socket.data["name"] = name
    ctx.socket.data["room"] = "lobby"
    await ctx.socket.join("lobby")
    ctx.log.info("%s connects", name)
    await next()  # accepts the client; returns when it is gone
