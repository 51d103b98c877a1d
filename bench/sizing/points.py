"""Points: the CPU time of members and of the broker while messages go to a room."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.buses.sides import ARGS, EVENT
from bench.processes import cpu
from bench.sizing.members import Crowd, Member
from bench.sizing.model import Load
from tests.programs.redis import Redis

__all__ = ["FRAME", "Place", "Point", "paced"]

ACK = len(b"\x81\x05431[]")
"""Bytes of the frame that answers a call."""

FRAME = len(b"42" + json.dumps([EVENT, *ARGS], separators=(",", ":")).encode()) + 4
"""Bytes of the frame of a message."""

PERIOD = 0.004
"""Seconds from the begin of one turn to that of the next, unless it takes longer."""

NOW_AND_THEN = 0.4
"""Seconds between two messages while there is nothing to do."""

SETTLE = 0.05
"""Seconds in which members that deliver nothing have taken what came, too."""


def paced(turns: int) -> Iterator[int]:
    """Count turns, each of which begins some time after the one before.

    A process that has slept takes longer for the same work; so all of them sleep alike.
    """
    for turn in range(turns):
        end = time.monotonic() + PERIOD
        yield turn
        time.sleep(max(0.0, end - time.monotonic()))


@dataclass(frozen=True, slots=True)
class Point:
    """Microseconds of CPU time for each message; `there` and `elsewhere` are 0 where none are."""

    members: int
    touched: int
    sockets: int
    batch: int
    sender: float
    there: float
    elsewhere: float
    broker: float

    @property
    def load(self) -> Load:
        return Load(self.members, self.touched, self.sockets, self.batch)

    @property
    def all(self) -> float:
        """What all members took."""
        there = max(0, self.touched - 1)
        rest = self.members - 1 - there
        return self.sender + there * self.there + rest * self.elsewhere


class Place:
    """Members with the sockets of several rooms: `rooms` has how many members each touches.

    What members do besides is measured by `rest`, and left out of points.
    """

    def __init__(
        self, made: Sequence[Member], redis: Redis | None, each: int, rooms: dict[str, int]
    ) -> None:
        self.members, self.rooms, self.each = len(made), rooms, each
        self._pids = [member.pid for member in made] + ([redis.pid] if redis else [])
        self._has_broker = redis is not None
        self._idle = [0.0] * len(self._pids)
        self._crowd = Crowd()
        (self._sender,) = self._crowd.open(made[0].port, 1)
        for number, member in enumerate(made):
            own = [room for room, touched in rooms.items() if number < touched]
            if own:
                self._crowd.open(member.port, each, *own)

    def rest(self, seconds: float) -> None:
        """Do next to nothing, and see what that takes; the least of three times counts.

        A message now and then keeps members from asking Redis if it is still there.
        """
        times = [self._rest(seconds / 3) for _ in range(3)]
        self._idle = [min(each) for each in zip(*times, strict=True)]
        if self._has_broker:
            self._idle[-1] = 0.0  # a millisecond in a second; bare connections have it as well

    def _rest(self, seconds: float) -> list[float]:
        """Seconds of CPU time in a second, of each process."""
        began, before = time.monotonic(), self._used()
        for _ in range(max(1, round(seconds / NOW_AND_THEN))):
            self._crowd.send(self._sender, b'42["tell","nobody",1]')
            time.sleep(NOW_AND_THEN)
        taken = time.monotonic() - began
        return [(now - was) / taken for now, was in zip(self._used(), before, strict=True)]

    def point(self, room: str, batch: int, turns: int) -> Point:
        """Send `batch` messages in each turn, which ends when all of them are delivered."""
        touched = self.rooms.get(room, 0)
        packet = b"421" + json.dumps(["tell", room, batch]).encode()
        due = ACK + touched * self.each * batch * FRAME
        began, before = time.monotonic(), self._used()
        for _ in paced(turns):
            self._crowd.send(self._sender, packet)
            self._crowd.drain(self._crowd.read + due)
        time.sleep(SETTLE)
        seconds = time.monotonic() - began
        figures = zip(self._used(), before, self._idle, strict=True)
        used = [max(0.0, now - was - seconds * idle) for now, was, idle in figures]
        used = [each / turns / batch * 1e6 for each in used]
        broker = used.pop() if self._has_broker else 0.0
        there, elsewhere = used[1 : max(1, touched)], used[max(1, touched) :]
        means = (fmean(part) if part else 0.0 for part in (there, elsewhere))
        sockets = touched * self.each
        return Point(self.members, max(1, touched), sockets, batch, used[0], *means, broker)

    def close(self) -> None:
        """Close all sockets."""
        self._crowd.close()

    def _used(self) -> list[float]:
        return [cpu([pid]) for pid in self._pids]
