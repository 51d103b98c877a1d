"""The breaker, second by second."""

from __future__ import annotations

import pytest

from gateway.backends.breaker import Breaker, State


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told() -> list[tuple[State, float]]:
    return []


@pytest.fixture
def breaker(clock: Clock, told: list[tuple[State, float]]) -> Breaker:
    return Breaker(lambda state, pause: told.append((state, pause)), clock)


def calls(breaker: Breaker, failed: int = 0, fine: int = 0) -> None:
    for has_failed in [False] * fine + [True] * failed:
        assert breaker.enter() == 0.0
        breaker.record(breaker.turn, failed=has_failed)


def test_it_takes_twenty_calls_to_open_it(breaker: Breaker) -> None:
    calls(breaker, failed=19)
    assert breaker.state == "closed"
    calls(breaker, failed=1)
    assert (breaker.state, breaker.left()) == ("open", 5.0)


def test_it_takes_half_of_them(breaker: Breaker) -> None:
    calls(breaker, fine=11)
    calls(breaker, failed=10)
    assert breaker.state == "closed"
    calls(breaker, failed=1)
    assert breaker.state == "open"


def test_what_is_ten_seconds_old_does_not_count(breaker: Breaker, clock: Clock) -> None:
    calls(breaker, failed=19)
    clock.now += 10.0
    calls(breaker, failed=1)
    assert breaker.state == "closed"


def test_open_it_lets_nobody_pass(breaker: Breaker, clock: Clock) -> None:
    calls(breaker, failed=20)
    clock.now += 4.0
    assert breaker.enter() == pytest.approx(1.0)


def test_then_one_call_tries_while_others_wait(breaker: Breaker, clock: Clock) -> None:
    calls(breaker, failed=20)
    clock.now += 5.0
    assert breaker.left() == 0.0
    assert breaker.enter() == 0.0
    assert (breaker.state, breaker.enter()) == ("half_open", 1.0)


def test_if_it_is_answered_all_pass(
    breaker: Breaker, clock: Clock, told: list[tuple[State, float]]
) -> None:
    calls(breaker, failed=20)
    clock.now += 5.0
    calls(breaker, fine=1)
    assert told == [("open", 5.0), ("half_open", 0.0), ("closed", 0.0)]
    calls(breaker, failed=19)
    assert breaker.state == "closed"  # what was before is forgotten


def test_if_it_fails_the_pause_doubles_up_to_a_minute(
    breaker: Breaker, clock: Clock, told: list[tuple[State, float]]
) -> None:
    calls(breaker, failed=20)
    for _ in range(5):
        clock.now += breaker.left()
        calls(breaker, failed=1)
    assert [pause for state, pause in told if state == "open"] == [5, 10, 20, 40, 60, 60]


def test_if_it_is_cancelled_the_next_one_tries(breaker: Breaker, clock: Clock) -> None:
    calls(breaker, failed=20)
    clock.now += 5.0
    breaker.enter()
    breaker.forget(breaker.turn)
    assert breaker.enter() == 0.0


def test_calls_from_before_say_nothing(breaker: Breaker, clock: Clock) -> None:
    before = breaker.turn
    calls(breaker, failed=20)
    clock.now += 5.0
    breaker.enter()
    breaker.record(before, failed=False)
    breaker.forget(before)
    assert breaker.state == "half_open"


def test_a_backend_can_ask_for_a_pause(breaker: Breaker, clock: Clock) -> None:
    breaker.enter()
    breaker.hold(30.0)
    assert breaker.enter() == 30.0
    clock.now += 30.0
    calls(breaker, fine=1)
    assert breaker.state == "closed"
    breaker.hold(9999.0)
    assert breaker.left() == 60.0


def test_one_that_is_off_never_opens(clock: Clock) -> None:
    breaker = Breaker(clock=clock, is_off=True)
    calls(breaker, failed=100)
    assert breaker.state == "closed"
