"""Requests to other members, and what they have answered so far."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from gateway.cluster.messages import Answer

__all__ = ["MOST_PENDING", "NODE", "Gathered", "Requests"]

MOST_PENDING = 10_000
"""Requests that may wait at the same time; of more, every member is missing at once."""


NODE = "node"
"""What stands for all Node servers where members have tags."""

ASKED = 8
"""The type of a Node server's answer that tells how many answers of clients will follow."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """The answers of members, by their tags, and those that did not answer.

    Those of Node servers are under `NODE`, which is among the missing if one of them is.
    """

    answers: Mapping[str, list[Answer]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


class Requests:
    """The requests of one member that wait for answers; their ids begin with its tag.

    `unanswered` counts those that some member did not answer, also because too many waited.
    """

    def __init__(self, tag: str = "") -> None:
        self.unanswered = 0
        self._tag = tag
        self._pending: dict[str, _Request] = {}
        self._last = 0

    def __len__(self) -> int:
        """The number of requests that wait."""
        return len(self._pending)

    async def ask(
        self,
        members: Collection[str],
        publish: Callable[[str], None],
        timeout: float,
        strangers: int = 0,
    ) -> Gathered:
        """Ask members, and wait until each has answered or is gone, at most `timeout` seconds.

        `publish` gets the id of the request. So many answers of `strangers` are waited for, too.
        """
        if not members and not strangers:
            return Gathered()
        if len(self._pending) >= MOST_PENDING:
            self.unanswered += 1
            return Gathered({}, tuple(members))
        self._last += 1
        request, key = _Request(members, strangers), f"{self._tag}{self._last}"
        self._pending[key] = request
        try:
            publish(key)
            missing = await request.missing(timeout)
        finally:
            del self._pending[key]
        self.unanswered += bool(missing)
        return Gathered(request.answers, missing)

    def take(self, answer: Answer) -> None:
        """Take an answer; one that nobody waits for is ignored."""
        request = self._pending.get(answer.request_id)
        if request is not None:
            request.take(answer)

    def lost(self, member: str) -> None:
        """Wait no longer for a member that is gone."""
        for request in self._pending.values():
            request.lost(member)


class _Request:
    """One request. A member is waited for until its last answer."""

    __slots__ = ("_asked", "_done", "_halves", "_owed", "_waits_for", "answers")

    def __init__(self, members: Collection[str], strangers: int) -> None:
        self._owed = strangers  # answers that have no sender
        self.answers: dict[str, list[Answer]] = {}
        self._asked = tuple(members)
        self._waits_for = set(members)
        self._halves: list[str] = []  # members whose answers are not whole
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(self, answer: Answer) -> None:
        if answer.uid in self._waits_for:
            self.answers.setdefault(answer.uid, []).append(answer)
            if not answer.more:
                if answer.parts and answer.parts != len(self.answers[answer.uid]):
                    self._halves.append(answer.uid)
                self.lost(answer.uid)
        elif not answer.uid and self._owed > 0:
            self.answers.setdefault(NODE, []).append(answer)
            self._owed -= 1
            if answer.type == ASKED:
                self._owed += max(0, answer.client_count)
            self._look()

    def lost(self, member: str) -> None:
        self._waits_for.discard(member)
        self._look()

    def _look(self) -> None:
        if not self._waits_for and self._owed <= 0 and not self._done.done():
            self._done.set_result(None)

    async def missing(self, seconds: float) -> tuple[str, ...]:
        """Wait, at most `seconds`; returns those that have not given all their answers."""
        await asyncio.wait({self._done}, timeout=seconds)
        gone = [each for each in self._asked if each not in self.answers]
        late = [NODE] if self._owed > 0 else []
        return tuple(dict.fromkeys([*gone, *sorted(self._waits_for), *self._halves, *late]))
