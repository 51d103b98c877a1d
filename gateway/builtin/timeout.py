"""`builtin.timeout`: cancels packets that take too long."""

from __future__ import annotations

import asyncio

from gateway import Context, Middleware, Next, Reject

__all__ = ["timeout"]


def timeout(after: float) -> Middleware:
    """Packet middleware that cancels the rest of the chain after `after` seconds.

    The client gets the error `timeout`. Middleware before this one is not timed.
    """
    if after <= 0:
        raise ValueError("option 'after' must be more than 0")

    async def limit(ctx: Context, next: Next) -> None:
        try:
            async with asyncio.timeout(after) as deadline:
                await next()
        except TimeoutError:
            if not deadline.expired():
                raise
            raise Reject("timeout", f"event '{ctx.event}' took too long") from None

    return limit
