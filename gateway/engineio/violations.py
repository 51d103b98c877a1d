"""Counts of violations, limits met and faults: they come too often to log each one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Generic, Literal, TypeVar, get_args

__all__ = ["FAULTS", "VIOLATIONS", "EventCounter", "Fault", "Violation"]

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

INTERVAL = 1.0
"""Shortest time between two log lines of one kind, in seconds."""

LENGTH = 200
"""Longest reason that is logged, in characters."""

K = TypeVar("K", bound=str)


class EventCounter(Generic[K]):
    """Counts events by kind, and logs at most one line a second for each kind.

    Each line gives the number of events that were not logged since the last one. `counts` has
    every kind from the start, `word` begins each line, `clock` returns seconds. Lines at the
    `level` ERROR have the traceback of the exception that is being handled.
    """

    def __init__(
        self,
        word: str,
        kinds: Iterable[K],
        clock: Callable[[], float] = time.monotonic,
        level: int = logging.INFO,
    ) -> None:
        self.counts: dict[K, int] = dict.fromkeys(kinds, 0)
        self._word = word
        self._clock = clock
        self._level = level
        self._unlogged: dict[K, int] = {}
        self._silent_until: dict[K, float] = {}

    def record(self, kind: K, who: str, why: object) -> None:
        """Count one event; only the first line of `why` is logged.

        `who` and `why` must not contain secrets. A session's id is one; parts of a request may be.
        """
        self.counts[kind] += 1
        now = self._clock()
        if now < self._silent_until.get(kind, now):
            self._unlogged[kind] = self._unlogged.get(kind, 0) + 1
            return
        self._silent_until[kind] = now + INTERVAL
        left_out = self._unlogged.pop(kind, 0)
        more = f" ({left_out} more of this kind were not logged)" if left_out else ""
        reason = str(why).partition("\n")[0][:LENGTH]
        text = "%s %s by %s: %s%s"
        is_error = self._level >= logging.ERROR
        LOG.log(self._level, text, self._word, kind, who, reason, more, exc_info=is_error)
