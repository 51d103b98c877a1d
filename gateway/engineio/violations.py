"""Counts of violations, limits met, refusals and faults: too many come to log each one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, get_args

__all__ = [
    "FAULTS",
    "REFUSED",
    "VIOLATIONS",
    "EventCounter",
    "Fault",
    "RefusalCounter",
    "RefusedThing",
    "Told",
    "Violation",
]

LOG = logging.getLogger("sockgw.engine")

Violation = Literal[
    "http",
    "forwarded",
    "unknown_transport",
    "unknown_session",
    "bad_handshake_method",
    "bad_request",
    "forbidden",
    "unsupported_version",
    "too_large",
    "overlap",
    "upgrade",
    "frame",
    "engine_packet",
    "packet",
]
"""The ways in which a client can violate the protocol.

`http`: bytes that are not an HTTP request. `forwarded`: fields of a trusted proxy that cannot be
read, which are then ignored. The next six are engine.io's refusals. `too_large`: a
body or a message over the limit. `overlap`: a second GET, POST or WebSocket where a session may
have only one. `upgrade`: an invalid packet during an upgrade. The last three: a WebSocket frame,
an Engine.IO packet or a Socket.IO packet that the protocol does not allow.
"""

VIOLATIONS: tuple[Violation, ...] = get_args(Violation)

Fault = Literal["request"]
"""Faults in the gateway itself. `request`: an exception instead of an answer."""

FAULTS: tuple[Fault, ...] = get_args(Fault)

RefusedThing = Literal[
    "connection", "handshake", "namespace", "origin", "path", "transport", "version"
]
"""What the gateway refuses because of its configuration, though the protocol allows it.

`connection` and `handshake`: middleware has refused it. `namespace`, `path` and `transport`: there
is none like it. `origin`: pages from there may not connect. `version`: one of Engine.IO that is not
spoken here.
"""

REFUSED: tuple[RefusedThing, ...] = get_args(RefusedThing)

INTERVAL = 1.0
"""Shortest time between two log lines of one kind, in seconds."""

LENGTH = 200
"""Longest reason, and longest cure, that is logged, in characters."""

KEPT = 5
"""Things of one kind that were refused last, and are kept for the status."""

K = TypeVar("K", bound=str)


class EventCounter(Generic[K]):
    """Counts events by kind, and logs at most one line a second for each kind.

    Each line gives the number of events that were not logged since the last one; lines of another
    level are counted apart. `counts` has every kind from the start, `word` begins each line,
    `clock` returns seconds. `level` is that of lines for which `record` gets no other; at ERROR
    they have the traceback of the exception that is being handled. `cure` is the end of each line
    that has no other, with `{}` for the kind: what to do about it.
    """

    def __init__(
        self,
        word: str,
        kinds: Iterable[K],
        clock: Callable[[], float] = time.monotonic,
        level: int = logging.INFO,
        cure: str = "",
    ) -> None:
        self.counts: dict[K, int] = dict.fromkeys(kinds, 0)
        self._word = word
        self._clock = clock
        self._level = level
        self._cure = cure
        self._unlogged: dict[tuple[K, int], int] = {}
        self._silent_until: dict[tuple[K, int], float] = {}

    def count(self, kind: K) -> None:
        """Count one event that is logged elsewhere."""
        self.counts[kind] += 1

    def record(
        self, kind: K, who: str, why: object, cure: str = "", level: int | None = None
    ) -> None:
        """Count one event; only the first line of `why` is logged, and then the `cure`.

        `who`, `why` and `cure` must not contain secrets. A session's id is one; parts of a request
        may be.
        """
        self.counts[kind] += 1
        now, level = self._clock(), level or self._level
        lines = kind, level
        if now < self._silent_until.get(lines, now):
            self._unlogged[lines] = self._unlogged.get(lines, 0) + 1
            return
        self._silent_until[lines] = now + INTERVAL
        left_out = self._unlogged.pop(lines, 0)
        more = f" ({left_out} more)" if left_out else ""
        cure = cure or self._cure.format(kind)
        text = f"{self._said(kind, who, _short(why))}{more}{cure and ': '}{_short(cure)}"
        LOG.log(level, "%s", text, exc_info=level >= logging.ERROR)

    def _said(self, kind: K, who: str, why: str) -> str:
        """The event in words."""
        return f"{self._word} {kind} by {who}: {why}"


@dataclass(frozen=True, slots=True)
class Told:
    """A thing that was refused `count` times, the last time to `who`, and the `cure` of then.

    `at` is when that was, in seconds since the epoch.
    """

    what: str
    who: str
    cure: str
    count: int
    at: float


class RefusalCounter(EventCounter[RefusedThing]):
    """Counts what was refused because of the configuration, and keeps the latest of each kind.

    `why` of `record` is the thing, such as `origin 'https://shop.example'`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__("refused", REFUSED, clock)
        self._latest: dict[RefusedThing, dict[str, Told]] = {}

    @property
    def latest(self) -> list[Told]:
        """The things that were refused last, up to `KEPT` of each kind, the latest first."""
        told = [each for things in self._latest.values() for each in things.values()]
        return sorted(told, key=lambda each: each.at, reverse=True)

    def record(
        self, kind: RefusedThing, who: str, why: object, cure: str = "", level: int | None = None
    ) -> None:
        things, what = self._latest.setdefault(kind, {}), _short(why)
        former = things.pop(what, None)
        count = 1 if former is None else former.count + 1
        things[what] = Told(what, who, _short(cure), count, time.time())
        if len(things) > KEPT:
            del things[next(iter(things))]
        super().record(kind, who, why, cure, level)

    def _said(self, kind: RefusedThing, who: str, why: str) -> str:
        return f"refused {why} of {who}"


def _short(text: object) -> str:
    """The first line, as far as it is logged."""
    return str(text).partition("\n")[0][:LENGTH]
