"""The reloader: every trigger leads through the same steps, one reload at a time.

Nothing that a reload does, and nobody who hears of it, can end the reloader.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from gateway.daemon.plan import Plan
from gateway.errors import ConfigError, Place, Problem

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

    `reload` does one: it returns the plan, or `None` when the content is what is served already,
    and raises `ConfigError`. `current` tells the generation, `verdicts` hears of each reload, and
    `file` is where problems stand that have no better place.
    """

    def __init__(
        self,
        reload: Callable[[], Awaitable[Plan | None]],
        current: Callable[[], int],
        verdicts: Callable[[Verdict], None],
        file: str,
    ) -> None:
        self._reload = reload
        self._current = current
        self._verdicts = verdicts
        self._file = file
        self._wanted = asyncio.Event()
        self._trigger: Trigger = "watch"
        self._waiting: list[asyncio.Future[Verdict]] = []
        self._ended = False

    def want(self, trigger: Trigger) -> None:
        """Ask for a reload. Those asked for while one runs become one more."""
        self._trigger = trigger
        self._wanted.set()

    async def request(self, trigger: Trigger) -> Verdict:
        """Ask for a reload and wait for its verdict; it has failed when the reloader has ended."""
        if self._ended:
            return self._refusal(trigger)
        verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._waiting.append(verdict)
        self.want(trigger)
        return await verdict

    async def run(self) -> None:
        """Reload whenever it is wanted, until cancelled."""
        answered: list[asyncio.Future[Verdict]] = []
        try:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                answered, self._waiting = self._waiting, []
                verdict = await self._once(self._trigger)
                _settle(answered, verdict)
                try:
                    self._verdicts(verdict)
                except Exception:
                    log.exception("a fault in the gateway itself")
        finally:
            self._ended = True
            _settle([*answered, *self._waiting], self._refusal(self._trigger))

    async def _once(self, trigger: Trigger) -> Verdict:
        at, start = time.time(), time.perf_counter()
        plan: Plan | None = None
        problems: tuple[Problem, ...] = ()
        result: Literal["applied", "unchanged", "failed"] = "failed"
        try:
            plan = await self._reload()
            result = "unchanged" if plan is None else "applied"
        except ConfigError as error:
            problems = error.problems
        except Exception as error:
            log.exception("a fault in the gateway itself")
            problems = (self._problem(f"a fault in the gateway itself: {error!r}"),)
        seconds = time.perf_counter() - start
        return Verdict(trigger, result, self._current(), at, seconds, plan or Plan(), problems)

    def _refusal(self, trigger: Trigger) -> Verdict:
        problems = (self._problem("the gateway is stopping"),)
        return Verdict(
            trigger, "failed", self._current(), time.time(), seconds=0.0, problems=problems
        )

    def _problem(self, message: str) -> Problem:
        return Problem(Place(self._file), "", message)


def _settle(waiting: Iterable[asyncio.Future[Verdict]], verdict: Verdict) -> None:
    for each in waiting:
        if not each.done():
            each.set_result(verdict)
