"""Offences: all counted, few told of."""

from __future__ import annotations

import logging

import pytest

from gateway.engineio.offence import KINDS, Offence
from gateway.engineio.refusal import Refusal
from gateway.engineio.tally import Tally


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def offences(clock: Clock, caplog: pytest.LogCaptureFixture) -> Tally[Offence]:
    caplog.set_level(logging.INFO)
    return Tally("offence", KINDS, clock)


def test_every_kind_is_there_from_the_start(offences: Tally[Offence]) -> None:
    assert offences.counts == dict.fromkeys(KINDS, 0)


def test_every_refusal_has_a_kind_of_its_own() -> None:
    assert [refusal.kind for refusal in Refusal] == [refusal.name.lower() for refusal in Refusal]


def test_one_line_a_second_tells_how_many_there_were(
    offences: Tally[Offence], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(1000):
        offences.saw("packet", "session x", "not a packet")
    clock.now = 0.99
    offences.saw("packet", "session x", "not a packet")
    clock.now = 1.0
    offences.saw("packet", "session y", "not a packet")
    clock.now = 2.0
    offences.saw("packet", "session z", "not a packet")
    assert offences.counts["packet"] == 1003
    assert caplog.messages == [
        "offence packet by session x: not a packet",
        "offence packet by session y: not a packet (1000 more of this kind were not logged)",
        "offence packet by session z: not a packet",
    ]


def test_kinds_do_not_silence_each_other(
    offences: Tally[Offence], caplog: pytest.LogCaptureFixture
) -> None:
    for kind in KINDS:
        offences.saw(kind, "x", "y")
    assert caplog.messages == [f"offence {kind} by x: y" for kind in KINDS]


def test_a_line_is_one_line_and_not_long(
    offences: Tally[Offence], caplog: pytest.LogCaptureFixture
) -> None:
    offences.saw("http", "x", ValueError(f"{'y' * 1000}\nz"))
    assert caplog.messages == [f"offence http by x: {'y' * 200}"]
