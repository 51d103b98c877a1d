"""`builtin.concurrency`: limits packets at once; others wait or are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from gateway import Context, Middleware, Next, Reject, Socket

__all__ = ["concurrency"]


_KEYS: dict[str, Callable[[Socket], str]] = {
    "gateway": lambda socket: "",
    "namespace": lambda socket: socket.namespace,
    "socket": lambda socket: socket.id,
}


class _Slots:
    """The slots of one gateway, namespace or socket; `taken` includes waiting packets."""

    __slots__ = ("free", "taken")

    def __init__(self, limit: int) -> None:
        self.free = asyncio.Semaphore(limit)
        self.taken = 0


def concurrency(
    limit: int,
    per: Literal["gateway", "namespace", "socket"] = "gateway",
    queue: int = 0,
) -> Middleware:
    """Packet middleware that lets at most `limit` packets run at once.

    The limit is for the whole gateway, or `per` namespace or socket. `queue` more wait for their
    turn, in the order they came; the rest get the error `busy`. Time spent waiting counts towards
    the packet's time-out.
    """
    if limit < 1:
        raise ValueError("option 'limit' must be at least 1")
    if queue < 0:
        raise ValueError("option 'queue' must be at least 0")
    key_of = _KEYS[per]
    most = limit + queue
    used: dict[str, _Slots] = {}

    async def admit(ctx: Context, next: Next) -> None:
        key = key_of(ctx.socket)
        slots = used.get(key)
        if slots is None:
            slots = used[key] = _Slots(limit)
        elif slots.taken >= most:
            raise Reject("busy", "too many at once, try again later")
        slots.taken += 1
        try:
            async with slots.free:
                await next()
        finally:
            slots.taken -= 1
            if not slots.taken:
                del used[key]

    return admit
