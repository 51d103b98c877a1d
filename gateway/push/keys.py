"""Idempotency keys: a push that is asked for again is answered as before, and not done again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass

from gateway.push.problems import PushError

__all__ = ["LIFE", "MOST_BYTES", "MOST_KEYS", "Keys"]

LIFE = 600.0
"""Seconds that an answer is kept."""

MOST_KEYS = 10_000
"""Answers that are kept at most."""

MOST_BYTES = 16_000_000
"""Bytes that they have together at most."""


@dataclass(slots=True, eq=False)
class _Kept:
    """A push that is done, or being done; `size` is that of its answer, 0 until there is one."""

    digest: bytes
    work: asyncio.Task[bytes]
    until: float
    size: int = 0


class Keys:
    """The keys that clients have used, and the answers to them.

    `replayed` counts answers that were given again, `forgotten` those that made room for others
    before their time. `clock` returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.replayed = 0
        self.forgotten = 0
        self._clock = clock
        self._kept: dict[Hashable, _Kept] = {}
        self._size = 0

    def __len__(self) -> int:
        """The number of keys."""
        return len(self._kept)

    async def once(
        self, key: Hashable, digest: bytes, perform: Callable[[], Awaitable[bytes]]
    ) -> bytes:
        """Return what `perform` does, or has done or does already for the same key.

        `digest` is that of the request. A request that fails may be made again with its key. Raises
        `PushError` if the key is that of another request, and what `perform` raises.
        """
        self._expire()
        kept = self._kept.get(key)
        if kept is None:
            work = asyncio.ensure_future(_done(perform))
            kept = self._kept[key] = _Kept(digest, work, self._clock() + LIFE)
            work.add_done_callback(lambda work: self._finished(key, work))
        elif kept.digest != digest:
            raise PushError("key_reused", "this Idempotency-Key was used for another request")
        else:
            self.replayed += 1
        return await asyncio.shield(kept.work)  # whoever asked first may have left

    def _finished(self, key: Hashable, work: asyncio.Task[bytes]) -> None:
        if work.cancelled() or work.exception() is not None:
            del self._kept[key]
            return
        kept = self._kept[key]
        kept.size = len(work.result())
        self._size += kept.size
        self._make_room()

    def _make_room(self) -> None:
        """Forget the oldest answers, if there are too many."""
        if len(self._kept) <= MOST_KEYS and self._size <= MOST_BYTES:
            return
        for key, kept in tuple(self._kept.items()):
            if len(self._kept) <= MOST_KEYS and self._size <= MOST_BYTES:
                break
            if kept.work.done():
                self._forget(key)
                self.forgotten += 1

    def _expire(self) -> None:
        now = self._clock()
        while self._kept:
            key, kept = next(iter(self._kept.items()))
            if kept.until > now or not kept.work.done():
                return
            self._forget(key)

    def _forget(self, key: Hashable) -> None:
        self._size -= self._kept.pop(key).size


async def _done(perform: Callable[[], Awaitable[bytes]]) -> bytes:
    return await perform()
