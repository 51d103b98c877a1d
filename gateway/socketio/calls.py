"""Calls: events that plugins ask clients to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from gateway.api import Answers, Value

__all__ = ["Call"]


class Call:
    """One event that one or more sockets are asked to answer, and their answers so far.

    `ids` are the ids of the sockets. Answers are kept until they have `limit` bytes together; the
    one that reaches it is kept too.
    """

    __slots__ = ("_answers", "_done", "_ids", "_limit", "_missing", "_size")

    def __init__(self, ids: Iterable[str], limit: float) -> None:
        self._ids = tuple(ids)
        self._missing = set(self._ids)
        self._limit = limit
        self._size = 0
        self._answers: dict[str, list[Value]] = {}
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(self, id: str, answer: list[Value], size: int) -> bool:
        """Take the answer of a socket, of `size` bytes; false if there is no room for it."""
        is_kept = self._size < self._limit
        if is_kept:
            self._answers[id] = answer
            self._size += size
        self.give_up(id)
        return is_kept

    def give_up(self, id: str) -> None:
        """Wait no longer for a socket."""
        self._missing.discard(id)
        if not self._missing:
            self._finish()

    async def answers(self, seconds: float) -> Answers:
        """Wait until no answer is missing, at most `seconds`, and return the answers."""
        if self._missing:
            timer = asyncio.get_running_loop().call_later(seconds, self._finish)
            try:
                await self._done
            finally:
                timer.cancel()
        missing = tuple(each for each in self._ids if each not in self._answers)
        return Answers(self._answers, missing)

    def _finish(self) -> None:
        if not self._done.done():
            self._done.set_result(None)
