"""`builtin.timeout`: an end to what takes too long."""

from __future__ import annotations

import asyncio

from gateway import Context, Middleware, Next, Reject

__all__ = ["timeout"]


def timeout(after: float) -> Middleware:
    """Packet middleware: cancels what comes after it in the chain when it takes `after` seconds.

    The answer is the error `timeout`. Where it stands counts: what comes before it is not timed.
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
