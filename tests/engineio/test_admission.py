"""Admission and the bucket it counts with."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from gateway.engineio.engine import Admission
from gateway.limits import TokenBucket
from tests.engineio.echo import UNLIMITED


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
        assert admission.limit("a", UNLIMITED) is None
        admission.entered("a")


def test_there_may_be_so_many_and_who_leaves_makes_room(admission: Admission) -> None:
    limits = replace(UNLIMITED, sockets=2)
    admission.entered("a")
    admission.entered("b")
    assert admission.limit("c", limits) == "sockets"
    admission.left("a")
    assert admission.limit("c", limits) is None


def test_an_address_has_its_own_bound_and_is_forgotten(admission: Admission) -> None:
    limits = replace(UNLIMITED, sockets_per_address=1)
    admission.entered("a")
    assert admission.limit("a", limits) == "sockets_per_address"
    assert admission.limit("b", limits) is None
    admission.left("a")
    assert admission.limit("a", limits) is None
    assert not admission.addresses


@pytest.mark.parametrize(
    ("address", "same", "other"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", "2001:db8:0:2::1"),
        ("fe80::1%eth0", "fe80::2%eth1", "fe80:0:0:1::1"),
        ("", "", "/run/a:b.sock"),
    ],
)
def test_an_ipv6_address_counts_as_its_network(
    admission: Admission, address: str, same: str, other: str
) -> None:
    limits = replace(UNLIMITED, sockets_per_address=1)
    admission.entered(address)
    assert admission.limit(same, limits) == "sockets_per_address"
    assert admission.limit(other, limits) is None
    admission.left(same)
    assert admission.limit(address, limits) is None
    assert not admission.addresses


def test_so_many_may_come_in_a_second_and_as_many_at_once(
    admission: Admission, clock: Clock
) -> None:
    limits = replace(UNLIMITED, connections_per_second=2)
    for _ in range(2):
        assert admission.limit("a", limits) is None
        admission.entered("a")
    assert admission.limit("a", limits) == "connections_per_second"
    clock.now = 0.5
    assert admission.limit("a", limits) is None
    admission.entered("a")
    assert admission.limit("a", limits) == "connections_per_second"


def test_who_has_too_much_to_do_takes_nobody(clock: Clock) -> None:
    admission = Admission(clock, lambda: True)
    assert admission.limit("a", UNLIMITED) == "overload_after"


class TestBucket:
    def test_it_is_full_at_first_and_never_fuller(self) -> None:
        bucket = TokenBucket()
        assert bucket.refill(10, 100.0) == 0
        assert bucket.tokens == 10
        bucket.refill(10, 1000.0)
        assert bucket.tokens == 10

    def test_what_was_taken_too_much_is_waited_for(self) -> None:
        bucket = TokenBucket()
        bucket.refill(10, 0.0)
        bucket.tokens -= 15
        assert bucket.refill(10, 0.0) == 0.5
        assert bucket.refill(10, 0.25) == 0.25
        assert bucket.refill(10, 0.5) == 0

    def test_no_rate_at_all_and_back(self) -> None:
        bucket = TokenBucket()
        assert bucket.refill(inf, 0.0) == 0
        bucket.tokens -= 1e9
        assert bucket.refill(inf, 0.0) == 0
        assert bucket.refill(5, 0.0) == 0
        assert bucket.tokens == 5
