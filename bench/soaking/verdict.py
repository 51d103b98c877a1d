"""The verdict of a soak: its figures and its problems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench.soaking.daemon import Held
from bench.soaking.lives import Account

__all__ = ["Verdict", "table"]

MEMORY = 1.05, 16 * 2**20
"""Growth of memory that is allowed: a factor, and bytes on top."""

DESCRIPTORS = 2
"""Descriptors that there may be more at the end."""

TASKS = 5
"""Tasks or timers that there may be more: a reload or a close may be in progress."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Figures of a soak: `base` after the warm-up, `end` at the end, both without clients."""

    account: Account
    base: Held
    end: Held
    faults: tuple[str, ...]
    exit_code: int | None
    saves: int
    log_lines: int
    violations: Mapping[str, int]
    limited: Mapping[str, int]

    @property
    def problems(self) -> tuple[str, ...]:
        """Problems found; empty if there are none."""
        return tuple(self._problems())

    def _problems(self) -> Iterator[str]:
        account = self.account
        if self.faults:
            yield f"{len(self.faults)} faults in the log, the first: {self.faults[0][:2000]}"
        if self.exit_code != 0:
            yield f"the daemon ended with {self.exit_code}"
        if not account.answered or account.answered != account.asked:
            yield f"{account.asked - account.answered} of {account.asked} calls were not answered"
        for loss, count in account.losses.items():
            yield f"{count} x {loss}"
        if self.end.sockets:
            yield f"{self.end.sockets} sockets left of clients that are gone"
        if self.end.descriptors > self.base.descriptors + DESCRIPTORS:
            yield f"descriptors grew from {self.base.descriptors} to {self.end.descriptors}"
        for what in ("tasks", "timers"):
            base, end = getattr(self.base, what), getattr(self.end, what)
            if end > base + TASKS:
                yield f"{what} grew from {base} to {end}"
        if self.end.memory > self.base.memory * MEMORY[0] + MEMORY[1]:
            yield f"memory grew from {_mb(self.base.memory)} to {_mb(self.end.memory)}"


def table(verdict: Verdict) -> str:
    """A table of the figures, then the problems."""
    account, closing = verdict.account, sorted(verdict.account.closing) or [0.0]
    rows = {
        "lives": ", ".join(f"{count} {kind}" for kind, count in sorted(account.lives.items())),
        "calls answered": f"{account.answered} of {account.asked}, {account.busy} with busy",
        "connections refused": str(account.refused),
        "saves of a plugin": str(verdict.saves),
        "violations": ", ".join(f"{count} {kind}" for kind, count in verdict.violations.items()),
        "limits met": ", ".join(f"{count} {limit}" for limit, count in verdict.limited.items()),
        "time to close on garbage": f"{_ms(closing, 0.5)} median, {_ms(closing, 0.99)} p99",
        "memory": f"{_mb(verdict.base.memory)} then {_mb(verdict.end.memory)}",
        "descriptors": f"{verdict.base.descriptors} then {verdict.end.descriptors}",
        "tasks, timers": f"{verdict.base.tasks}, {verdict.base.timers} then "
        f"{verdict.end.tasks}, {verdict.end.timers}",
        "log": f"{verdict.log_lines} lines, {len(verdict.faults)} faults",
    }
    width = max(map(len, rows))
    lines = [f"{name:<{width}}  {value}" for name, value in rows.items()]
    problems = verdict.problems
    return "\n".join([*lines, "", *(problems or ["good: no losses, no leaks"])])


def _mb(size: int) -> str:
    return f"{size / 2**20:.1f} MB"


def _ms(times: list[float], part: float) -> str:
    return f"{times[int(part * (len(times) - 1))] * 1000:.1f} ms"
