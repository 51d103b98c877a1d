"""Chains: links of middleware folded once into one call.

A chain does not know its end: the context carries it (`ctx._end`), so one fold serves every route
of a namespace, and the connection chain is folded by the same function.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from gateway.api import Context, Middleware
from gateway.errors import Place, UsageError

__all__ = ["Chain", "Link", "fold"]

Chain: TypeAlias = Callable[[Context], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Link:
    """One middleware of a chain, and where its author wrote it."""

    name: str
    run: Middleware
    place: Place


def fold(links: Sequence[Link]) -> Chain:
    """Compose `links`, first outermost, as koa-compose does.

    The last link's `next()` runs the context's end. A link that calls `next()` twice raises
    `UsageError` with its name.
    """
    chain: Chain = _end
    for depth in reversed(range(len(links))):
        chain = _step(links[depth], depth, chain)
    return chain


def _end(ctx: Context) -> Awaitable[None]:
    ctx._ended = True
    return ctx._end(ctx)


def _step(link: Link, depth: int, rest: Chain) -> Chain:
    run = link.run

    def advance(ctx: Context) -> Awaitable[None]:
        if ctx._at != depth:
            raise UsageError(f"middleware '{link.name}' called next() twice")
        ctx._at = depth + 1
        return rest(ctx)

    def step(ctx: Context) -> Awaitable[None]:
        return run(ctx, partial(advance, ctx))

    return step
