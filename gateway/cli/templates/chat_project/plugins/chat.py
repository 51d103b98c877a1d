"""Handlers for chat events. Everybody is in one room at a time."""

from gateway import Context, Namespace, Reject

SHOWN = 50  # names, however many people there are


async def send(ctx: Context, text: str) -> dict[str, bool]:
    """`text` is the event's argument; the return value is the ack."""
    if not 0 < len(text) <= 1000:
        raise Reject("bad_text", "a message is text of up to 1000 characters")
    await room(ctx).emit("chat", ctx.socket.data["name"], text)
    return {"ok": True}


async def typing(ctx: Context, is_typing: bool) -> None:
    await others(ctx).emit("typing", ctx.socket.data["name"], is_typing)


async def join(ctx: Context, name: str) -> dict[str, str]:
    if not 0 < len(name) <= 20:
        raise Reject("bad_room", "a room's name is text of up to 20 characters")
    await left(ctx)
    await ctx.socket.leave(str(ctx.socket.data["room"]))
    ctx.socket.data["room"] = name
    await ctx.socket.join(name)
    await arrived(ctx)
    return {"room": name}


async def arrived(ctx: Context) -> None:
    await others(ctx).emit("joined", ctx.socket.data["name"])
    await tell_who_is_there(room(ctx))


async def left(ctx: Context) -> None:
    await others(ctx).emit("left", ctx.socket.data["name"])
    await tell_who_is_there(others(ctx))


async def tell_who_is_there(people: Namespace) -> None:
    names = sorted(str(socket.data["name"]) for socket in await people.sockets())
    await people.emit("people", names[:SHOWN], len(names))


def room(ctx: Context) -> Namespace:
    return ctx.namespace.to(str(ctx.socket.data["room"]))


def others(ctx: Context) -> Namespace:
    return ctx.socket.to(str(ctx.socket.data["room"]))
