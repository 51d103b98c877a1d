"""The load, by a clock that is set by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

import pytest

from gateway.runtime.load import PERIOD, Load


class Loop:
    """What the load asks of the event loop."""

    def __init__(self) -> None:
        self.now = 100.0
        self.next: tuple[float, Callable[[], None]] | None = None

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, look: Callable[[], None]) -> Loop:
        self.next = (when, look)
        return self

    def cancel(self) -> None:
        self.next = None

    def look(self, late: float) -> None:
        """Let the next look come so late."""
        assert self.next is not None
        when, look = self.next
        self.now = when + late
        look()


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    loop = Loop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    return loop


def test_one_that_is_late_is_high_until_it_is_in_time(loop: Loop) -> None:
    load = Load()
    load.watch(1.0)
    loop.look(late=0.9)
    assert not load.is_high
    assert load.refuse_at == inf
    loop.look(late=1.1)
    assert load.is_high
    assert load.refuse_at == loop.now + PERIOD + 1.0
    loop.look(late=0.0)
    assert not load.is_high
    assert load.refuse_at == inf


def test_it_looks_no_more_where_there_is_no_limit(loop: Loop) -> None:
    load = Load()
    load.watch(1.0)
    loop.look(late=2.0)
    load.watch(inf)
    assert loop.next is None
    assert not load.is_high
    load.watch(0.5)
    loop.look(late=0.6)
    assert load.is_high


def test_another_limit_holds_from_the_next_look(loop: Loop) -> None:
    load = Load()
    load.watch(1.0)
    load.watch(0.1)
    loop.look(late=0.2)
    assert load.is_high
