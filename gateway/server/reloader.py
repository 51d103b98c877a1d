"""The reloader: every trigger leads through the same steps, one reload at a time.

Read, validate, import, compile, start: each may fail, and then nothing has changed. What comes
after is `apply`, which cannot.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from gateway.errors import ConfigError, Problem
from gateway.server.plan import Plan

__all__ = ["Reloader", "Trigger", "Verdict"]

log = logging.getLogger("sockgw.reload")

Trigger = Literal["watch", "signal", "admin"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a reload.

    `generation` is the one that serves afterwards. `at` is in seconds since the epoch, `seconds`
    how long it took.
    """

    trigger: Trigger
    result: Literal["applied", "unchanged", "failed"]
    generation: int
    at: float
    seconds: float
    plan: Plan = field(default_factory=Plan)
    problems: tuple[Problem, ...] = ()


class Reloader:
    """Runs reloads as they are asked for.

    `reload` does one: it returns the plan and the generation, with `None` for a plan when the
    content is what is served already, and raises `ConfigError`. `verdicts` hears of each.
    """

    def __init__(
        self,
        reload: Callable[[], Awaitable[tuple[Plan | None, int]]],
        current: Callable[[], int],
        verdicts: Callable[[Verdict], None],
    ) -> None:
        self._reload = reload
        self._current = current
        self._verdicts = verdicts
        self._wanted = asyncio.Event()
        self._trigger: Trigger = "watch"
        self._waiting: list[asyncio.Future[Verdict]] = []

    def want(self, trigger: Trigger) -> None:
        """Ask for a reload. Those asked for while one runs become one more."""
        self._trigger = trigger
        self._wanted.set()

    async def request(self, trigger: Trigger) -> Verdict:
        """Ask for a reload and wait for its verdict."""
        verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._waiting.append(verdict)
        self.want(trigger)
        return await verdict

    async def run(self) -> None:
        """Reload whenever it is wanted, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            waiting, self._waiting = self._waiting, []
            verdict = await self._once(self._trigger)
            self._verdicts(verdict)
            for each in waiting:
                if not each.done():
                    each.set_result(verdict)

    async def _once(self, trigger: Trigger) -> Verdict:
        at, start = time.time(), time.perf_counter()
        plan: Plan | None = None
        problems: tuple[Problem, ...] = ()
        generation = self._current()
        result: Literal["applied", "unchanged", "failed"] = "failed"
        try:
            plan, generation = await self._reload()
            result = "unchanged" if plan is None else "applied"
        except ConfigError as error:
            problems = error.problems
        seconds = time.perf_counter() - start
        return Verdict(trigger, result, generation, at, seconds, plan or Plan(), problems)
