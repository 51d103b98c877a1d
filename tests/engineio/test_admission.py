"""Admission and the bucket it counts with."""

from __future__ import annotations

from math import inf

import pytest

from gateway.engineio.admission import Admission
from gateway.engineio.bucket import Bucket
from gateway.engineio.settings import Settings


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def admission(clock: Clock) -> Admission:
    return Admission(clock)


def test_nothing_is_bounded_unless_it_is_said(admission: Admission) -> None:
    for _ in range(1000):
        assert admission.limit("a", Settings()) is None
        admission.entered("a")


def test_there_may_be_so_many_and_who_leaves_makes_room(admission: Admission) -> None:
    settings = Settings(sessions=2)
    admission.entered("a")
    admission.entered("b")
    assert admission.limit("c", settings) == "sockets"
    admission.left("a")
    assert admission.limit("c", settings) is None


def test_an_address_has_its_own_bound_and_is_forgotten(admission: Admission) -> None:
    settings = Settings(sessions_per_address=1)
    admission.entered("a")
    assert admission.limit("a", settings) == "sockets_per_address"
    assert admission.limit("b", settings) is None
    admission.left("a")
    assert admission.limit("a", settings) is None
    assert not admission._addresses


def test_so_many_may_come_in_a_second_and_as_many_at_once(
    admission: Admission, clock: Clock
) -> None:
    settings = Settings(sessions_per_second=2)
    for _ in range(2):
        assert admission.limit("a", settings) is None
        admission.entered("a")
    assert admission.limit("a", settings) == "connections_per_second"
    clock.now = 0.5
    assert admission.limit("a", settings) is None
    admission.entered("a")
    assert admission.limit("a", settings) == "connections_per_second"


def test_who_has_too_much_to_do_takes_nobody(admission: Admission) -> None:
    admission.is_overloaded = lambda: True
    assert admission.limit("a", Settings()) == "overload_after"


class TestBucket:
    def test_it_is_full_at_first_and_never_fuller(self) -> None:
        bucket = Bucket()
        assert bucket.wait(10, 100.0) == 0
        assert bucket.left == 10
        bucket.wait(10, 1000.0)
        assert bucket.left == 10

    def test_what_was_taken_too_much_is_waited_for(self) -> None:
        bucket = Bucket()
        bucket.wait(10, 0.0)
        bucket.left -= 15
        assert bucket.wait(10, 0.0) == 0.5
        assert bucket.wait(10, 0.25) == 0.25
        assert bucket.wait(10, 0.5) == 0

    def test_no_rate_at_all_and_back(self) -> None:
        bucket = Bucket()
        assert bucket.wait(inf, 0.0) == 0
        bucket.left -= 1e9
        assert bucket.wait(inf, 0.0) == 0
        assert bucket.wait(5, 0.0) == 0
        assert bucket.left == 5
