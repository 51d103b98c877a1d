"""Chains: middleware folded into one call, and the ends that chains lead to.

A chain does not know its end. The context carries it (`ctx._end`), so one fold serves all routes
that have no middleware of their own, and the same function folds connection and handshake chains.
Tracing (`-v`) is wrapped around links and ends when they are compiled, so it costs nothing when it
is off.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Generic, Protocol, TypeAlias, TypeVar

from gateway.api import Handler, Next, Value
from gateway.context import Context, HandshakeContext
from gateway.errors import Place, UsageError

__all__ = [
    "FLOW",
    "AnyContext",
    "Arguments",
    "Chain",
    "Link",
    "answer",
    "checked",
    "fold",
    "nothing",
    "trace_middleware",
    "trace_route",
    "trace_unrouted",
]

FLOW = "sockgw.flow"
"""The logger of the steps of packets."""

log = logging.getLogger(FLOW)

AnyContext = TypeVar("AnyContext", Context, HandshakeContext)

Chain: TypeAlias = Callable[[AnyContext], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Link(Generic[AnyContext]):
    """One middleware of a chain, with its place in the YAML.

    `route` is the event of the route whose own middleware it is, `None` in any other chain.
    """

    name: str
    run: Callable[[AnyContext, Next], Awaitable[None]]
    place: Place
    route: str | None = None


def fold(links: Sequence[Link[AnyContext]]) -> Chain[AnyContext]:
    """Compose `links` as koa-compose does, the first outermost.

    The last link's `next()` runs the context's end. A link that calls `next()` twice raises
    `UsageError` with its name and its route.
    """
    chain: Chain[AnyContext] | None = None
    for depth in reversed(range(len(links))):
        chain = _step(links[depth], depth, chain)
    return chain or _end


def _end(ctx: AnyContext) -> Awaitable[None]:
    return ctx._end(ctx)


def _step(link: Link[AnyContext], depth: int, rest: Chain[AnyContext] | None) -> Chain[AnyContext]:
    run = link.run
    name = f"'{link.name}'" if link.route is None else f"'{link.name}' of route '{link.route}'"

    def advance(ctx: AnyContext) -> Awaitable[None]:
        if ctx._at != depth:
            raise UsageError(f"middleware {name} called next() twice")
        ctx._at = depth + 1
        return ctx._end(ctx) if rest is None else rest(ctx)

    def step(ctx: AnyContext) -> Awaitable[None]:
        return run(ctx, partial(advance, ctx))

    return step


class Arguments(Protocol):
    """Binds an event's arguments to a handler's parameters.

    `bind` raises `Reject` with the code `bad_request` if they do not fit.
    """

    @property
    def takes_all(self) -> bool: ...

    def bind(self, args: list[Value]) -> Sequence[object]: ...


def answer(handler: Handler, arguments: Arguments) -> Chain[Context]:
    """The end that runs `handler` and stores its return value as the reply."""
    bind = arguments.bind

    async def with_context(ctx: Context) -> None:
        ctx.reply = await handler(ctx)

    async def with_arguments(ctx: Context) -> None:
        ctx.reply = await handler(ctx, *bind(ctx.args))

    return with_context if arguments.takes_all else with_arguments


def checked(check: Callable[[list[Value]], None], end: Chain[Context]) -> Chain[Context]:
    """`end`, run only after `check`, which refuses arguments by raising `Reject`."""

    async def check_first(ctx: Context) -> None:
        check(ctx.args)
        await end(ctx)

    return check_first


async def nothing(ctx: AnyContext) -> None:
    """The end of an event without a route, and of a handshake."""


def trace_middleware(
    name: str, run: Callable[[AnyContext, Next], Awaitable[None]]
) -> Callable[[AnyContext, Next], Awaitable[None]]:
    """`run`, with a log line when it begins and one when it ends."""

    async def traced(ctx: AnyContext, next: Next) -> None:
        _log_step(ctx, "-> %s", name)
        start = perf_counter()
        try:
            await run(ctx, next)
        finally:
            _log_step(ctx, "<- %s after %.1f ms", name, (perf_counter() - start) * 1000)

    return traced


def trace_route(route: str, handler: str, end: Chain[Context]) -> Chain[Context]:
    """`end`, with a log line that names the route and one when its handler ends."""

    async def traced(ctx: Context) -> None:
        _log_step(ctx, "   route '%s' -> %s", route, handler)
        start = perf_counter()
        try:
            await end(ctx)
        finally:
            _log_step(ctx, "   %s took %.1f ms", handler, (perf_counter() - start) * 1000)

    return traced


def trace_unrouted(end: Chain[Context]) -> Chain[Context]:
    """`end`, with a log line that says that there is no route."""

    async def traced(ctx: Context) -> None:
        _log_step(ctx, "   no route")
        await end(ctx)

    return traced


def _log_step(ctx: Context | HandshakeContext, text: str, *values: object) -> None:
    if isinstance(ctx, Context):
        facts = ctx._facts
    else:
        facts = {"address": ctx.handshake.address, "event": "handshake"}
    log.debug(text, *values, extra=facts)
