"""`builtin.log`: one line for every packet."""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter
from typing import Literal

from gateway import Context, Middleware, Next, Reject

__all__ = ["log"]


def log(level: Literal["debug", "info"] = "info") -> Middleware:
    """Packet middleware that logs the event, its outcome and its duration.

    The outcome is `ok`, the code of a `Reject`, `cancelled` or `internal`. Arguments and replies
    are not logged, and only 64 characters of the event's name, because clients choose it. The lines
    are logged at `level`.
    """
    number = logging.getLevelNamesMapping()[level.upper()]

    async def line(ctx: Context, next: Next) -> None:
        start = perf_counter()
        outcome = "internal"
        try:
            await next()
            outcome = "ok"
        except Reject as verdict:
            outcome = verdict.code
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            took = (perf_counter() - start) * 1000
            ctx.log.log(number, "%.64r %s %.1f ms", ctx.event, outcome, took)

    return line
