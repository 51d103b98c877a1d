"""What clients do that they may not: all of it counted, some of it logged."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Literal, get_args

__all__ = ["KINDS", "Offence", "Offences"]

LOG = logging.getLogger("sockgw.engine")

INTERVAL = 1.0
"""Seconds between two lines on one kind of offence."""

LENGTH = 200
"""Characters of a reason that are logged."""

Offence = Literal[
    "http",
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
"""Bytes that are no HTTP request; the refusals of engine.io; a body or message over the limit; a
second request, or WebSocket, where a session may have one; an attempt to upgrade that is none; a
WebSocket frame, an Engine.IO packet, a Socket.IO packet that the protocol does not allow."""

KINDS: tuple[Offence, ...] = get_args(Offence)


class Offences:
    """`counts` has every kind from the start; `clock` gives seconds.

    At most one line a second is logged for each kind, however many clients misbehave. It tells
    how many there were since the line before.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts: dict[Offence, int] = dict.fromkeys(KINDS, 0)
        self._clock = clock
        self._untold: dict[Offence, int] = {}
        self._silent_until: dict[Offence, float] = {}

    def saw(self, kind: Offence, who: str, why: object) -> None:
        """Count an offence. `who` and `why` name no secret: a session's id is one, and what a
        request says may be. Of `why` the first line is told.
        """
        self.counts[kind] += 1
        now = self._clock()
        if now < self._silent_until.get(kind, now):
            self._untold[kind] = self._untold.get(kind, 0) + 1
            return
        self._silent_until[kind] = now + INTERVAL
        left_out = self._untold.pop(kind, 0)
        more = f" ({left_out} more of this kind were not logged)" if left_out else ""
        reason = str(why).partition("\n")[0][:LENGTH]
        LOG.info("offence %s by %s: %s%s", kind, who, reason, more)
