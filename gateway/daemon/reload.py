"""Reloads: every trigger leads through the same steps, one reload at a time.

read the files -> tell the watcher -> prepare -> commit -> keep the files -> report

No step that fails, and no listener that fails, ends the reloader.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import indent
from typing import Literal

from gateway.config.model import GatewayConfig
from gateway.daemon.admin_door import AdminDoor
from gateway.daemon.api_door import ApiDoor
from gateway.daemon.fleet import Candidate, Fleet
from gateway.daemon.last_good import LastGood
from gateway.daemon.listener import ListenError, Move
from gateway.daemon.loading import Loading
from gateway.daemon.log import configure, hide, problem_fields
from gateway.daemon.metrics import Metrics
from gateway.daemon.plan import Plan
from gateway.daemon.systemd import Notifier
from gateway.daemon.watcher import Watcher
from gateway.errors import ConfigError, Place, Problem
from gateway.runtime.live import FAULT
from gateway.snapshot import Snapshot

__all__ = ["Reloader", "Trigger", "Triggers", "Verdict", "placed"]

log = logging.getLogger("sockgw.reload")

Trigger = Literal["watch", "signal", "admin"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a reload.

    `generation` is the one that serves afterwards. `at` is in seconds since the epoch; `seconds`
    is how long the reload took. With `recovered`, the one before it failed and this did not.
    """

    trigger: Trigger
    result: Literal["applied", "unchanged", "failed"]
    generation: int
    at: float
    seconds: float
    plan: Plan = field(default_factory=Plan)
    problems: tuple[Problem, ...] = ()
    recovered: bool = False


class Triggers:
    """Requests for a reload; those made while one runs become one more."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._last: Trigger = "watch"

    def want(self, trigger: Trigger) -> None:
        """Ask for a reload."""
        self._last = trigger
        self._asked.set()

    async def next(self) -> Trigger:
        """Wait until a reload is asked for; return what asked last."""
        await self._asked.wait()
        self._asked.clear()
        return self._last


class Reloader:
    """Runs reloads of `file` as they are asked for.

    `fleet` serves clients, `doors` are where the other listeners listen. `degraded` holds the
    problems of the file on disk while the last good configuration is served instead of it. `last`
    is the newest verdict. `reloaded` is called with every verdict. While somebody else holds
    `turn`, reloads wait.
    """

    def __init__(
        self,
        file: Path,
        triggers: Triggers,
        *,
        loading: Loading,
        fleet: Fleet,
        doors: Sequence[AdminDoor | ApiDoor],
        watcher: Watcher,
        last_good: LastGood,
        metrics: Metrics,
        notifier: Notifier,
        reloaded: Callable[[Verdict], None] | None = None,
    ) -> None:
        self.degraded: ConfigError | None = None
        self.last: Verdict | None = None
        self.turn = asyncio.Lock()
        self._file = file
        self._triggers = triggers
        self._loading = loading
        self._fleet = fleet
        self._doors = doors
        self._watcher = watcher
        self._last_good = last_good
        self._metrics = metrics
        self._notifier = notifier
        self._reloaded = reloaded
        self._next: asyncio.Future[Verdict] = _future()
        self._has_ended = False
        self._warned: Sequence[Problem] = ()
        self._trouble: str | None = None

    async def request(self, trigger: Trigger) -> Verdict:
        """Ask for a reload and return its verdict, which is "failed" once the reloader ended."""
        if self._has_ended:
            return self._refusal(trigger)
        self._triggers.want(trigger)
        return await asyncio.shield(self._next)

    async def run(self) -> None:
        """Reload whenever it is asked for, until cancelled."""
        answer = self._next
        try:
            while True:
                trigger = await self._triggers.next()
                async with self.turn:
                    answer, self._next = self._next, _future()
                    verdict = await self._once(trigger)
                answer.set_result(verdict)
                try:
                    self._report(verdict)
                except Exception:
                    log.exception(FAULT)
        finally:
            self._has_ended = True
            for each in {answer, self._next}:
                if not each.done():
                    each.set_result(self._refusal("admin"))

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
            log.exception(FAULT)
            problems = (self._problem(f"{FAULT}: {error!r}"),)
        seconds = time.perf_counter() - start
        generation, plan = self._fleet.generation, plan or Plan()
        recovered = result != "failed" and self.last is not None and self.last.result == "failed"
        return Verdict(trigger, result, generation, at, seconds, plan, problems, recovered)

    async def _reload(self) -> Plan | None:
        """Reload; return `None` when the files say what is served already."""
        self._notifier.reloading()
        former = self._fleet.snapshot
        snapshot = await self._loading.snapshot(self._file, former.config if former else None)
        self._watcher.watch(snapshot.inputs)
        with placed(snapshot):
            plan = await self.serve(snapshot, anyway=self.degraded is not None)
        if plan is None:
            return None
        for name in plan.emptied:
            log.warning("%s had files and has none now: what they said no longer holds", name)
        if self.degraded:
            log.info("valid again: %s replaces the last good configuration", self._file)
            self.degraded = None
        await self.keep(snapshot)
        return plan

    async def serve(
        self,
        snapshot: Snapshot,
        *,
        anyway: bool = True,
        prepared: Callable[[Candidate], Awaitable[None]] | None = None,
    ) -> Plan | None:
        """Make `snapshot` the one that serves; `None` if what it says is served already.

        With `anyway`, serve it even then. `prepared` is awaited with the candidate when nothing can
        fail any more.
        Raises `ConfigError` and `ListenError`; nothing has changed then.
        """
        config, former = snapshot.config, self._fleet.snapshot
        if config is None:
            raise ConfigError(snapshot.problems)
        # A service that fails to start may repeat its options, so they are masked before.
        known = former.config.secrets if former and former.config else config.secrets
        hide(known, config.secrets)
        anyway = anyway or not all(door.is_at(config) for door in self._doors)
        candidate = await self._fleet.prepare(snapshot, anyway=anyway)
        if candidate is None:
            return None
        moves: list[Move] = []
        async with AsyncExitStack() as undo:
            undo.push_async_callback(candidate.abort)
            for door in self._doors:
                move = door.prepare(config)
                undo.callback(move.cancel)
                moves.append(move)
            undo.pop_all()
        if prepared is not None:
            await prepared(candidate)
        await candidate.commit()
        for move in moves:
            await move.make()
        self._apply(config, candidate.warnings)
        return candidate.plan

    def _apply(self, config: GatewayConfig, warnings: Sequence[Problem]) -> None:
        """Apply what a config says of the log and of reloads, and tell its new warnings."""
        configure(config.log)
        for warning in warnings:
            if warning not in self._warned:
                log.warning("%s", warning, extra=problem_fields(str(warning), (), [warning]))
        self._warned = warnings
        reload = config.reload
        self._watcher.set(reload.watch, reload.quiet, reload.poll_interval)

    async def keep(self, snapshot: Snapshot) -> None:
        """Keep the files of `snapshot` as the last good configuration."""
        try:
            await asyncio.to_thread(self._last_good.keep, snapshot)
            self._trouble = None
        except OSError as error:
            if error.strerror != self._trouble:  # told once, not with every save
                self._trouble = error.strerror
                log.warning("the accepted configuration could not be kept: %s", error)

    def _report(self, verdict: Verdict) -> None:
        self.last = verdict
        again = "valid again: " if verdict.recovered else ""
        self._metrics.record_reload(verdict.trigger, verdict.result, verdict.at)
        self._notifier.ready(self.summary())
        if verdict.result == "unchanged":
            if verdict.recovered:
                log.info("%sgeneration %d stays", again, verdict.generation)
            else:
                log.info("reload: nothing has changed")
        elif verdict.result == "failed":
            lines = "\n".join(indent(problem.shown, "  ") for problem in verdict.problems)
            text = f"reload failed, generation {verdict.generation} stays"
            log.error("%s:\n%s", text, lines, extra=problem_fields(text, verdict.problems))
        else:
            lines = "".join(f"\n  {change}" for change in verdict.plan.changes)
            ms = verdict.seconds * 1000
            text = f"{again}generation {verdict.generation} serves after {ms:.0f} ms"
            fields = {"message": text, "changes": verdict.plan.changes}
            log.info("%s%s", text, lines, extra={"fields": fields})
            if verdict.plan.pending:
                log.warning("pending restart: %s", ", ".join(verdict.plan.pending))
        if self._reloaded is not None:
            self._reloaded(verdict)

    def summary(self) -> str:
        """Return the state of the gateway in one line, for systemd."""
        summary = f"generation {self._fleet.generation} serves at {self._fleet.listener.url}"
        if self.last and self.last.result == "failed":
            return f"{summary}; the last reload failed: {self.last.problems[0]}"
        return summary

    def _refusal(self, trigger: Trigger) -> Verdict:
        problems = (self._problem("the gateway is stopping"),)
        generation = self._fleet.generation
        return Verdict(trigger, "failed", generation, time.time(), seconds=0.0, problems=problems)

    def _problem(self, message: str) -> Problem:
        return Problem(Place(str(self._file)), "", message)


@contextmanager
def placed(snapshot: Snapshot) -> Iterator[None]:
    """Turn a `ListenError` into a problem at the place where the address is written."""
    try:
        yield
    except ListenError as error:
        at = snapshot.document.around(*error.keys)
        raise ConfigError([at.problem(str(error))]) from None


def _future() -> asyncio.Future[Verdict]:
    return asyncio.get_running_loop().create_future()
