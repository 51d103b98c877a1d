"""Presence of several members: each tells the others who is present there, and what has changed.

A member that joins is told all. Changes are numbered: one that misses some asks for all again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.cluster import messages as wire
from gateway.cluster.bus import Bus
from gateway.cluster.outgoing import Outgoing
from gateway.socketio.presence import MOST_AT_ONCE, Key, Presences

__all__ = ["PresenceExchange"]

PAUSE = 0.02
"""Seconds between two parts of all that a member has."""

AGAIN = 1.0
"""Seconds until a member is asked again for what was missed."""

REPEAT = 10
"""Beats after which the number of the last change is told again, though it is the same."""


@dataclass(slots=True)
class _Heard:
    """What was heard of a member: the number of the last change, `None` if some were missed.

    `whole` are those that it has by the parts that have come so far, `None` if none are to come;
    `part` is the next. `asked` is when it was asked for all.
    """

    state: int | None = None
    whole: set[Key] | None = None
    part: int = 0
    asked: float = -AGAIN


class PresenceExchange:
    """Tells other members on a `bus` of what `presences` has of this one, and hears of theirs."""

    def __init__(self, presences: Presences, bus: Bus, outgoing: Outgoing) -> None:
        self._presences, self._bus, self._outgoing = presences, bus, outgoing
        self._state = self._told = 0
        self._beats = 0
        self._heard: dict[str, _Heard] = {}
        self._telling: dict[str, asyncio.TimerHandle] = {}
        presences.tag = bus.tag
        presences.tell = self._tell
        presences.on_settle = self._ask_all
        bus.on_joined.append(self._joined)
        bus.on_lost.append(self._lost)
        bus.on_beat.append(self._beat)

    # To others

    def _tell(self, changed: Sequence[Key]) -> None:
        for begin in range(0, len(changed), MOST_AT_ONCE):
            self._state += 1
            entries = [self._entry(key) for key in changed[begin : begin + MOST_AT_ONCE]]
            self._outgoing.request("/", wire.Presence(state=self._state, entries=entries))

    def _entry(self, key: Key) -> wire.Entry:
        roster, (place, who) = self._presences.roster, key
        has = key in roster.entries(self._bus.tag)
        return wire.Entry(*place, who, roster.meta(self._bus.tag, *key) if has else None)

    def _beat(self) -> None:
        """Tell the number of the last change, with which others see if they have missed some.

        Both the number and the answer of one that was asked can be lost: so both come again.
        """
        self._beats += 1
        if self._state != self._told or (self._state and self._beats % REPEAT == 0):
            self._told = self._state
            self._outgoing.request("/", wire.Presence(state=self._state))
        for tag, heard in self._heard.items():
            if heard.state is None:
                self._ask(tag, heard)

    def _joined(self, member: str) -> None:
        """Tell a member all. One that had never lost this member does not: a beat asks it."""
        if self._presences.is_used:
            now = asyncio.get_running_loop().time()
            self._heard.setdefault(member, _Heard(asked=now))
            self._presences.returned(member)
            self._tell_all(member)

    def _tell_all(self, to: str) -> None:
        """Tell a member all, as it is when each part is sent: changes are told in between."""
        self._stop_telling(to)
        self._tell_part(to, tuple(self._presences.roster.entries(self._bus.tag)), 0)

    def _tell_part(self, to: str, keys: Sequence[Key], part: int) -> None:
        self._telling.pop(to, None)
        now, later = keys[:MOST_AT_ONCE], keys[MOST_AT_ONCE:]
        entries = [self._entry(key) for key in now]
        told = wire.Presence(state=self._state, entries=entries, part=part, is_last=not later)
        self._outgoing.request("/", told, to)
        if later:
            call_later = asyncio.get_running_loop().call_later
            self._telling[to] = call_later(PAUSE, self._tell_part, to, later, part + 1)

    def _stop_telling(self, to: str) -> None:
        if telling := self._telling.pop(to, None):
            telling.cancel()

    def _ask_all(self) -> None:
        if self._presences.is_used:
            self._outgoing.request("/", wire.AskPresence())

    # From others

    def take(self, message: wire.Presence | wire.AskPresence) -> None:
        """Act on a message of another member."""
        tag = message.uid
        if tag not in self._bus.members:
            return
        if isinstance(message, wire.AskPresence):
            self._tell_all(tag)
            return
        if not self._presences.is_used:
            return
        heard = self._heard.setdefault(tag, _Heard())
        if message.part == 0:
            heard.state, heard.whole, heard.part = message.state, set(), 0
            self._presences.returned(tag)
        if self._follows(heard, message):
            self._hear(heard, message)
        else:
            self._ask(tag, heard)

    def _follows(self, heard: _Heard, message: wire.Presence) -> bool:
        """True if nothing is missing before a message."""
        if message.part is not None:
            is_next = heard.whole is not None and heard.part == message.part
            return is_next and heard.state == message.state
        return heard.state is not None and heard.state + bool(message.entries) == message.state

    def _hear(self, heard: _Heard, message: wire.Presence) -> None:
        heard.state = message.state
        for each in message.entries:
            key: Key = (each.namespace, each.room), each.who
            self._presences.hear(message.uid, key, each.meta)
            if heard.whole is not None:
                (heard.whole.discard if each.meta is None else heard.whole.add)(key)
        if message.part is None or heard.whole is None:
            return
        heard.part += 1
        if message.is_last:
            gone = self._presences.roster.entries(message.uid).keys() - heard.whole
            for key in gone:
                self._presences.hear(message.uid, key, None)
            heard.whole = None

    def _ask(self, tag: str, heard: _Heard) -> None:
        heard.state = heard.whole = None
        now = asyncio.get_running_loop().time()
        if now >= heard.asked + AGAIN:
            heard.asked = now
            self._outgoing.request("/", wire.AskPresence(), tag)

    def _lost(self, member: str) -> None:
        self._heard.pop(member, None)
        self._stop_telling(member)
        self._presences.lost(member)
