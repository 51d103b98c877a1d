"""Violations: all counted, few logged."""

from __future__ import annotations

import logging

import pytest

from gateway.engineio.refusals import Refusal
from gateway.engineio.violations import (
    KEPT,
    VIOLATIONS,
    EventCounter,
    RefusalCounter,
    Violation,
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def violations(clock: Clock, caplog: pytest.LogCaptureFixture) -> EventCounter[Violation]:
    caplog.set_level(logging.INFO)
    return EventCounter("violation", VIOLATIONS, clock)


def test_every_kind_is_there_from_the_start(violations: EventCounter[Violation]) -> None:
    assert violations.counts == dict.fromkeys(VIOLATIONS, 0)


def test_every_refusal_has_a_kind_of_its_own() -> None:
    assert [refusal.violation for refusal in Refusal] == [
        refusal.name.lower() for refusal in Refusal
    ]


def test_one_line_a_second_tells_how_many_there_were(
    violations: EventCounter[Violation], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(1000):
        violations.record("packet", "session x", "not a packet")
    clock.now = 0.99
    violations.record("packet", "session x", "not a packet")
    clock.now = 1.0
    violations.record("packet", "session y", "not a packet")
    clock.now = 2.0
    violations.record("packet", "session z", "not a packet")
    assert violations.counts["packet"] == 1003
    assert caplog.messages == [
        "violation packet by session x: not a packet",
        "violation packet by session y: not a packet (1000 more)",
        "violation packet by session z: not a packet",
    ]


def test_kinds_do_not_silence_each_other(
    violations: EventCounter[Violation], caplog: pytest.LogCaptureFixture
) -> None:
    for kind in VIOLATIONS:
        violations.record(kind, "x", "y")
    assert caplog.messages == [f"violation {kind} by x: y" for kind in VIOLATIONS]


def test_a_warning_is_not_silenced_by_lines_of_less_weight(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    refused = RefusalCounter(clock)
    refused.record("connection", "x", "one")
    for _ in range(2):
        refused.record("connection", "x", "two", "", logging.WARNING)
    clock.now = 1.0
    refused.record("connection", "x", "two", "", logging.WARNING)
    told = [(each.levelname, each.getMessage()) for each in caplog.records]
    assert told == [
        ("INFO", "refused one of x"),
        ("WARNING", "refused two of x"),
        ("WARNING", "refused two of x (1 more)"),
    ]


def test_a_line_is_one_line_and_not_long(
    violations: EventCounter[Violation], caplog: pytest.LogCaptureFixture
) -> None:
    violations.record("http", "x", ValueError(f"{'y' * 1000}\nz"))
    assert caplog.messages == [f"violation http by x: {'y' * 200}"]


def test_the_cure_ends_the_line(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    limits = EventCounter("limit", ["depth"], clock, cure="to allow it, raise limits.{}")
    limits.record("depth", "x", "nested deeper than 5")
    limits.record("depth", "x", "nested deeper than 5")
    clock.now = 1.0
    limits.record("depth", "x", "nested deeper than 5", "raise it elsewhere")
    assert caplog.messages == [
        "limit depth by x: nested deeper than 5: to allow it, raise limits.depth",
        "limit depth by x: nested deeper than 5 (1 more): raise it elsewhere",
    ]


def test_a_refusal_names_what_of_whom_and_the_cure(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    refused = RefusalCounter(clock)
    for _ in range(13):
        refused.record("origin", "203.0.113.7", "origin 'https://shop.example'", "add it")
    clock.now = 1.0
    refused.record("origin", "203.0.113.7", "origin 'https://shop.example'", "add it")
    assert caplog.messages == [
        "refused origin 'https://shop.example' of 203.0.113.7: add it",
        "refused origin 'https://shop.example' of 203.0.113.7 (12 more): add it",
    ]
    assert refused.counts["origin"] == 14
    [told] = refused.latest
    assert (told.what, told.who, told.cure, told.count) == (
        *("origin 'https://shop.example'", "203.0.113.7", "add it"),
        14,
    )


def test_the_latest_refusals_of_each_kind_are_kept_and_no_more(clock: Clock) -> None:
    refused = RefusalCounter(clock)
    refused.record("namespace", "x", "namespace '/a'")
    for number in range(1000):
        refused.record("origin", "x", f"origin {number}" + "y" * 1000)
    assert len(refused.latest) == KEPT + 1
    assert refused.latest[-1].what == "namespace '/a'"
    assert all(len(told.what) <= 200 for told in refused.latest)
