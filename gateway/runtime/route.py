"""The ends of a packet chain: the handler of a route, what it is behind, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.api import Context, Handler, Value
from gateway.runtime.chain import Chain

__all__ = ["Arguments", "answer", "behind", "nothing"]


class Arguments(Protocol):
    """How an event's arguments become a handler's parameters.

    `bind` raises `Reject` with the code `bad_request` when they do not fit.
    """

    @property
    def takes_all(self) -> bool: ...

    def bind(self, args: list[Value]) -> Sequence[object]: ...


def answer(handler: Handler, arguments: Arguments) -> Chain:
    """The end that runs `handler` and keeps what it returns as the reply."""
    bind = arguments.bind

    async def with_context(ctx: Context) -> None:
        ctx.reply = await handler(ctx)

    async def with_arguments(ctx: Context) -> None:
        ctx.reply = await handler(ctx, *bind(ctx.args))

    return with_context if arguments.takes_all else with_arguments


def behind(check: Callable[[list[Value]], None], end: Chain) -> Chain:
    """`end`, for events whose arguments `check` does not refuse by raising `Reject`."""

    async def checked(ctx: Context) -> None:
        check(ctx.args)
        await end(ctx)

    return checked


async def nothing(ctx: Context) -> None:
    """The end of an event that has no route."""
