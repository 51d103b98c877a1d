"""The bus: what carries messages between members.

An engine carries bytes on channels and does not look into them. Messages have numbers: each
receiver counts what it missed.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, Protocol

from gateway.cluster.lease import Lease

__all__ = [
    "MOST_BYTES",
    "MOST_GONE",
    "Bus",
    "BusCounts",
    "BusState",
    "Channel",
    "Gaps",
    "Key",
    "Kind",
    "Lags",
    "Numbers",
    "Reason",
    "Receive",
]

Reason = Literal["away", "full", "gone", "large", "refused", "unsendable", "volatile"]
"""Why a message was not sent: the engine is away, too much waits in its outbox, the member is gone,
the message is too large, the engine has refused it, it cannot be encoded, or it is volatile and
much waits."""

MOST_BYTES = 1_000_000
"""Bytes of a message. Redis cuts off those that do not read 8 MB."""


class Kind(IntEnum):
    """What a channel is for."""

    BROADCAST = 1
    REQUEST = 2
    ANSWER = 3
    OUTSIDE = 4
    """What others send in a format of their own."""

    __hash__ = int.__hash__  # that of an enumeration is in Python, and channels are keys


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel: all members receive what is published on it, but not the one that publishes."""

    kind: Kind
    namespace: str


Receive = Callable[[Channel, bytes], None]
"""Receives a message of another member. It raises nothing and does not wait."""


class Lags:
    """How long messages took, by the clocks of sender and receiver; in seconds."""

    BOUNDS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.0)

    def __init__(self) -> None:
        self.counts = [0] * (len(self.BOUNDS) + 1)
        self.sum = 0.0

    def note(self, seconds: float) -> None:
        """Count a message."""
        seconds = max(0.0, seconds)
        self.counts[bisect_left(self.BOUNDS, seconds)] += 1
        self.sum += seconds


@dataclass(slots=True)
class BusCounts:
    """What a member has sent to others and received from them.

    `published` and `unpublished` count a message once for each member that an engine sends it to:
    once in all if the engine has a broker. `unconfirmed` are messages that were sent when the
    connection was lost: they may have arrived or not. `missed` are messages of others that never
    arrived, `members_lost` other members that ended without a word. `undecodable` are messages that
    were dropped for what is in them, `unaccepted` those that `cluster.accept` does not allow.
    `lags` counts broadcasts by the seconds that they took.
    """

    published: int = 0
    unconfirmed: int = 0
    unpublished: Counter[Reason] = field(default_factory=Counter)
    received: int = 0
    missed: int = 0
    members_lost: int = 0
    undecodable: int = 0
    unaccepted: int = 0
    lags: Lags = field(default_factory=Lags)


@dataclass(slots=True)
class BusState:
    """If the engine is there, since when, in seconds since the epoch, and why not.

    `changes` counts how often it went away.
    """

    is_up: bool = False
    since: float = field(default_factory=time.time)
    fault: str = ""
    changes: int = 0

    def set_up(self) -> bool:
        """Note that it is there; true if it was not."""
        was, self.is_up, self.fault = self.is_up, True, ""
        if not was:
            self.since = time.time()
        return not was

    def set_away(self, fault: str) -> bool:
        """Note that it is away; true if that is new, or the first that is known."""
        is_new = self.is_up or not self.fault
        self.fault = fault
        if self.is_up:
            self.is_up, self.since = False, time.time()
            self.changes += 1
        return is_new


class Bus(Protocol):
    """An engine, as the member `tag` sees it.

    `publish` sends to all members, or to the one with the tag `to`, and waits for nothing. What
    cannot be sent is dropped and counted; a `volatile` message is dropped earlier. Messages of one
    member arrive in order, or are missing. `receive` gets what arrives. Each function in
    `on_joined` and `on_lost` is called with the tag of the member, and each in `on_beat` now and
    then if messages can be lost on the way. Those in `on_again` are called with the tag of a member
    that has connected again before it was lost. `lease` is that of the cluster's services; `None`
    if all members are on one machine. A message of more than `most_bytes` is not sent.
    """

    tag: str
    most_bytes: int
    counts: BusCounts
    state: BusState
    receive: Receive
    on_joined: list[Callable[[str], None]]
    on_lost: list[Callable[[str], None]]
    on_beat: list[Callable[[], None]]
    on_again: list[Callable[[str], None]]

    @property
    def lease(self) -> Lease | None: ...

    @property
    def members(self) -> Collection[str]:
        """The tags of the other members."""

    @property
    def is_up(self) -> bool:
        """False while it is degraded: messages do not get through at the moment."""

    def publish(
        self, channel: Channel, message: bytes, to: str | None = None, *, volatile: bool = False
    ) -> None: ...

    def start(self) -> None:
        """Begin to connect, unless that has begun. Nothing waits for it."""

    async def close(self) -> None:
        """Leave the others."""

    async def strangers(self, namespace: str) -> int:
        """The number of servers that are no members and answer requests to a namespace."""

    def serve(self, namespaces: Iterable[str]) -> None:
        """Receive what is sent to these namespaces, at least."""


Key = tuple[Channel, bool]
"""A channel, and if a number on it is of those for one member only."""


class Numbers:
    """Numbers a member's messages: on each channel from 1, and by member those for one only."""

    def __init__(self) -> None:
        self._last: Counter[tuple[Channel, str | None]] = Counter()

    def next(self, channel: Channel, to: str | None = None) -> int:
        """Return the number of the next message on a channel."""
        key = channel, to
        number = self._last[key] = self._last[key] + 1
        return number

    def last(self, member: str | None = None) -> dict[Key, int]:
        """The last numbers of each channel: those for all, and those for a member if one is given.

        Channels with nothing for all are left out.
        """
        return {
            (channel, to is not None): number
            for (channel, to), number in self._last.items()
            if to is None or to == member
        }

    def forget(self, member: str) -> None:
        """Forget a member that is gone."""
        for key in [key for key in self._last if key[1] == member]:
            del self._last[key]


MOST_GONE = 256
"""Members that are gone whose last numbers are kept."""


class Gaps:
    """Finds the messages that were missed, by the numbers of those that arrive."""

    def __init__(self) -> None:
        self._last: dict[str, dict[Key, int]] = {}
        self._gone: dict[str, dict[Key, int]] = {}

    def is_gone(self, sender: str) -> bool:
        """True of a member that is gone, and whose last numbers are kept."""
        return sender in self._gone

    def missed(
        self, sender: str, channel: Channel, number: int, *, is_direct: bool = False
    ) -> int | None:
        """Return how many messages are missing before this one; `None` if it comes too late.

        `is_direct` is true of a message for this member only. The first of a sender has nothing
        before it: it may have sent others before this member was there. One that comes after a
        later one was counted as missing then. A sender that is gone stays so until it is told of.
        """
        numbers = self._last.get(sender)
        if numbers is None:
            numbers = self._gone.get(sender) or self._of(sender)
        last = numbers.get((channel, is_direct))
        if last is not None and number <= last:
            return None
        numbers[channel, is_direct] = number
        return 0 if last is None else number - last - 1

    def told(self, sender: str, numbers: Mapping[Key, int], *, is_joining: bool) -> int:
        """Learn the last numbers of a sender; returns how many of these messages are missing.

        One that is joining numbers its messages for this member anew.
        """
        known = self._of(sender)
        missing = sum(max(0, last - known.get(key, last)) for key, last in numbers.items())
        if is_joining:
            for key in [key for key in known if key[1]]:
                del known[key]
        for key, last in numbers.items():
            known[key] = max(last, known.get(key, 0))
        return missing

    def forget(self, sender: str) -> None:
        """Forget a member that is gone.

        If it was only out of reach, it comes back and goes on with its numbers for all members.
        """
        numbers = self._last.pop(sender, None) or self._gone.pop(sender, {})
        if kept := {key: number for key, number in numbers.items() if not key[1]}:
            self._gone[sender] = kept
            if len(self._gone) > MOST_GONE:
                del self._gone[next(iter(self._gone))]

    def _of(self, sender: str) -> dict[Key, int]:
        if sender not in self._last:
            self._last[sender] = self._gone.pop(sender, {})
        return self._last[sender]
