"""Deadlines by themselves: one timer, whatever is due."""

from __future__ import annotations

import pytest

from gateway.engineio.timers import Due
from gateway.http.deadlines import Deadlines


class Clock:
    """A hand-set clock, and the times at which it was asked to ring."""

    def __init__(self) -> None:
        self.now = 0.0
        self.armed: list[float | None] = []
        self.deadlines = Deadlines(lambda: self.now, self.armed.append)


class Thing:
    """Remembers what it was due for."""

    def __init__(self) -> None:
        self.told: list[tuple[Due, float]] = []

    def due(self, due: Due, when: float) -> None:
        self.told.append((due, when))


class Faulty(Thing):
    def due(self, due: Due, when: float) -> None:
        raise ValueError("due")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_timer_is_armed_for_the_earliest_alone(clock: Clock) -> None:
    things = [Thing() for _ in range(5)]
    for number, thing in enumerate(things):
        clock.now = float(number)
        clock.deadlines.set(thing, Due.PING, 25)
    assert clock.armed == [25]
    clock.deadlines.set(things[0], Due.NOOP, 0.1)
    assert clock.armed == [25, 4.1]


def test_timer_that_rings_early_is_armed_again(clock: Clock) -> None:
    thing = Thing()
    clock.deadlines.set(thing, Due.PING, 25)
    clock.now = 24.999
    clock.deadlines.run()
    assert thing.told == []
    assert clock.armed == [25, 25]


def test_everything_due_is_told_in_one_turn(clock: Clock) -> None:
    first, second, third = Thing(), Thing(), Thing()
    clock.deadlines.set(first, Due.PING, 25)
    clock.deadlines.set(second, Due.PONG, 20)
    clock.now = 10
    clock.deadlines.set(third, Due.PING, 25)
    clock.now = 30
    clock.deadlines.run()
    assert first.told == [(Due.PING, 25)]
    assert second.told == [(Due.PONG, 20)]
    assert third.told == []
    assert clock.armed[-1] == 35


def test_deadline_set_anew_takes_the_place_of_the_old(clock: Clock) -> None:
    thing, other = Thing(), Thing()
    clock.deadlines.set(thing, Due.PING, 25)
    clock.deadlines.set(other, Due.PING, 25)
    clock.now = 10
    clock.deadlines.set(thing, Due.PING, 25)
    clock.now = 25
    clock.deadlines.run()
    assert (thing.told, other.told) == ([], [(Due.PING, 25)])
    clock.now = 35
    clock.deadlines.run()
    assert thing.told == [(Due.PING, 35)]


def test_lengths_may_differ(clock: Clock) -> None:
    """Each session keeps the settings of its handshake, whatever comes later."""
    slow, quick = Thing(), Thing()
    clock.deadlines.set(slow, Due.PING, 25)
    clock.deadlines.set(quick, Due.PING, 0.3)
    assert clock.armed == [25, 0.3]
    clock.now = 0.3
    clock.deadlines.run()
    assert (slow.told, quick.told) == ([], [(Due.PING, 0.3)])
    assert clock.armed[-1] == 25
    clock.deadlines.set(quick, Due.PING, 0.3)
    clock.deadlines.cancel(quick, Due.PING)
    clock.now = 25
    clock.deadlines.run()
    assert slow.told == [(Due.PING, 25)]
    assert len(quick.told) == 1


def test_nothing_is_armed_once_all_is_cancelled(clock: Clock) -> None:
    thing = Thing()
    clock.deadlines.set(thing, Due.PING, 25)
    clock.deadlines.set(thing, Due.UPGRADE, 10)
    clock.deadlines.cancel(thing, Due.UPGRADE)
    assert clock.armed == [25, 10]
    clock.deadlines.cancel(thing)
    assert clock.armed == [25, 10, None]


def test_expire_runs_what_the_timer_has_not_yet(clock: Clock) -> None:
    thing = Thing()
    clock.deadlines.set(thing, Due.PING, 25)
    clock.deadlines.expire()
    assert clock.armed == [25]
    clock.now = 25
    clock.deadlines.expire()
    assert thing.told == [(Due.PING, 25)]


def test_one_that_fails_does_not_stop_the_others(clock: Clock) -> None:
    faulty, thing = Faulty(), Thing()
    clock.deadlines.set(faulty, Due.PING, 25)
    clock.deadlines.set(thing, Due.PING, 25)
    clock.now = 25
    with pytest.raises(ValueError, match="due"):
        clock.deadlines.run()
    assert clock.armed[-1] == 25
    clock.deadlines.run()
    assert thing.told == [(Due.PING, 25)]
