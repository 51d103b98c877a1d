"""The flow of every packet as log lines, for `-v`: which middleware entered and left, which route
matched, how long each took. Wrapped around at compile time, so that it costs nothing when off.
"""

from __future__ import annotations

import logging
from time import perf_counter

from gateway.api import Context, Middleware, Next
from gateway.runtime.chain import Chain

__all__ = ["trace_middleware", "trace_route"]

log = logging.getLogger("sockgw.flow")


def trace_middleware(name: str, run: Middleware) -> Middleware:
    """`run`, with a line when it is entered and one when it is left."""

    async def traced(ctx: Context, next: Next) -> None:
        _say(ctx, "-> %s", name)
        start = perf_counter()
        try:
            await run(ctx, next)
        finally:
            _say(ctx, "<- %s after %.1f ms", name, (perf_counter() - start) * 1000)

    return traced


def trace_route(route: str, handler: str | None, end: Chain) -> Chain:
    """`end`, with a line that tells which route matched and one when its handler is done."""

    async def traced(ctx: Context) -> None:
        _say(ctx, "   route '%s' -> %s", route, handler or "nothing")
        start = perf_counter()
        try:
            await end(ctx)
        finally:
            _say(ctx, "   %s took %.1f ms", handler, (perf_counter() - start) * 1000)

    return traced if handler else end


def _say(ctx: Context, text: str, *values: object) -> None:
    facts = {"socket": ctx.socket.id, "namespace": ctx.socket.namespace, "event": ctx.event}
    log.debug(text, *values, extra=facts)
