"""Routes of gateway events, such as `cluster`, which no client can send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from inspect import currentframe

from gateway.api import Value
from gateway.context import ClusterContext, Context
from gateway.runtime.blueprint import Generation, Route
from gateway.runtime.live import Live
from gateway.runtime.outcome import is_fault, log_fault

__all__ = ["hear", "run_event"]


async def run_event(live: Live, route: Route, ctx: Context) -> None:
    """Run the route of a gateway event."""
    own = live.cancellations.own_time(route.timeout) if route.has_own_timeout else None
    with own or nullcontext():
        async with asyncio.timeout(route.timeout):
            await route.end(ctx)


async def hear(
    live: Live,
    generation: Generation,
    namespace: str,
    route: Route,
    args: list[Value],
    answer: Callable[[Value], None] | None,
) -> None:
    """Run the `cluster` route of a namespace with a published event; faults are logged.

    `answer` gets what it has returned, `None` if it has failed.
    """
    gateway = generation.gateway
    ctx = ClusterContext(args, generation.service, gateway.of(namespace), gateway)
    try:
        await run_event(live, route, ctx)
    except BaseException as error:
        if not is_fault(error, currentframe()):
            raise
        log_fault(ctx, "in the route of the gateway event 'cluster'", error)
    if answer is not None:
        answer(ctx.reply)  # type: ignore[arg-type]  # that it can be sent is seen then
