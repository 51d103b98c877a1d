"""Middleware that only calls the next."""

from gateway import Context, Next


async def enter(ctx: Context, next: Next) -> None:
    await next()


async def each(ctx: Context, next: Next) -> None:
    await next()
