"""What a member counts as missed of one that was out of reach."""

from __future__ import annotations

from gateway.cluster.bus import MOST_GONE, Channel, Gaps, Kind

CHANNEL = Channel(Kind.BROADCAST, "/")


def test_a_member_that_comes_back_goes_on_with_its_numbers() -> None:
    gaps = Gaps()
    assert gaps.missed("a", CHANNEL, 7) == 0
    gaps.forget("a")
    assert gaps.missed("a", CHANNEL, 10) == 2
    gaps.forget("a")
    assert gaps.told("a", {(CHANNEL, False): 15}, is_joining=True) == 5
    assert gaps.missed("a", CHANNEL, 16) == 0


def test_messages_for_one_member_are_numbered_anew() -> None:
    gaps = Gaps()
    assert gaps.missed("a", CHANNEL, 7, is_direct=True) == 0
    gaps.forget("a")
    assert gaps.missed("a", CHANNEL, 1, is_direct=True) == 0


def test_numbers_are_kept_of_so_many_members() -> None:
    gaps = Gaps()
    for number in range(MOST_GONE + 1):
        assert gaps.missed(f"{number}", CHANNEL, 1) == 0
        gaps.forget(f"{number}")
    assert gaps.missed("0", CHANNEL, 10) == 0
    assert gaps.missed("1", CHANNEL, 10) == 8


def test_messages_that_come_before_a_member_is_back_are_not_missed() -> None:
    gaps = Gaps()
    assert gaps.missed("a", CHANNEL, 7) == 0
    gaps.forget("a")
    assert gaps.is_gone("a")
    assert gaps.missed("a", CHANNEL, 8) == 0
    assert gaps.missed("a", CHANNEL, 1, is_direct=True) == 0
    assert gaps.is_gone("a")
    assert gaps.told("a", {(CHANNEL, False): 9}, is_joining=False) == 1
    assert not gaps.is_gone("a")


def test_a_member_that_was_heard_of_while_it_was_gone_numbers_anew_what_is_for_one() -> None:
    gaps = Gaps()
    assert gaps.missed("a", CHANNEL, 7) == 0
    gaps.forget("a")
    assert gaps.missed("a", CHANNEL, 5, is_direct=True) == 0
    gaps.forget("a")
    assert gaps.missed("a", CHANNEL, 1, is_direct=True) == 0
    assert gaps.missed("a", CHANNEL, 9) == 1
