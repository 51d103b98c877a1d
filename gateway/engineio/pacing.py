"""Pacing: a session that sends too much is read more slowly, and nothing is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Final, Protocol

from gateway.limits import LimitName, TokenBucket

__all__ = ["BUDGET", "NEXT_TURN", "Paced", "paced"]

BUDGET = 256
"""Most packets or frames of one connection in one turn of the loop; then all others have theirs."""

LONGEST = 1.0
"""Longest sleep before the rate is checked again, in seconds."""

SHORTEST = 0.03
"""Shortest sleep, in seconds. A timer for each message would cost more than the messages."""


class _NextTurn:
    """An awaitable that is done in the next turn of the loop; it can be awaited again and again."""

    def __await__(self) -> Generator[None, None, None]:
        yield


NEXT_TURN: Final = _NextTurn()


class Paced(Protocol):
    """A session, as far as it is slowed down."""

    def count_limit(self, limit: LimitName, why: object, key: str = "") -> None: ...

    def hold(self, seconds: float) -> None: ...


def paced(
    bucket: TokenBucket,
    rate: Callable[[], float],
    session: Paced,
    limit: LimitName,
    key: Callable[[], str] = str,
) -> Awaitable[None] | None:
    """Slow down a session that has sent more than `rate` per second.

    Its next message waits for the returned awaitable. The wait checks the rate again and again: a
    reload may change it, and a client that is gone has no limit. `key` returns the limit's key, ""
    for that of the gateway.
    """
    if not bucket.refill(rate(), time.monotonic()):
        return None
    session.count_limit(limit, f"more than {rate()} per second; it is read more slowly", key())
    return _pace(bucket, rate, session)


async def _pace(bucket: TokenBucket, rate: Callable[[], float], session: Paced) -> None:
    while wait := bucket.refill(rate(), time.monotonic()):
        wait = min(max(wait, SHORTEST), LONGEST)
        session.hold(wait)
        await asyncio.sleep(wait)
