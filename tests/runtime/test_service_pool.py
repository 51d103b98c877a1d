"""The service pool by itself: its time limits hold for services that will not be hurried."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.api import Gateway
from gateway.errors import ConfigError, Place, Problem
from gateway.runtime.blueprint import Recipe
from gateway.runtime.services import ServicePool
from tests.deadline import until

GATEWAY = Gateway(None)  # type: ignore[arg-type]


def recipe(key: str, make: Callable[[], object]) -> Recipe:
    return Recipe(
        key, lambda _: make(), lambda message: Problem(Place("gateway.yaml"), key, message)
    )


class Slow:
    """A service that does not let itself be hurried."""

    def __init__(self, *, entering: bool = False, leaving: bool = False) -> None:
        self.go = asyncio.Event()
        self.cancelled = 0
        self._entering, self._leaving = entering, leaving

    async def __aenter__(self) -> Slow:
        if self._entering:
            await self.stubborn()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._leaving:
            await self.stubborn()

    async def stubborn(self) -> None:
        while not self.go.is_set():
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled += 1


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> ServicePool:
    monkeypatch.setattr("gateway.runtime.services.CLEAN_UP", 0.02)
    return ServicePool(start_timeout=0.02, stop_timeout=0.02)


async def test_a_service_that_does_not_start_is_given_up_though_it_will_not_be_cancelled(
    pool: ServicePool,
) -> None:
    slow = Slow(entering=True)
    with pytest.raises(ConfigError) as refused:
        await pool.start({"slow": recipe("slow", lambda: slow)}, GATEWAY)
    [problem] = refused.value.problems
    assert problem.message == "the service did not start within 0.02 s"
    assert slow.cancelled == 1
    slow.go.set()


async def test_a_service_that_hangs_is_told_while_it_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    monkeypatch.setattr("gateway.runtime.services.SLOW", 0)
    slow = Slow(entering=True)
    where = Place("plugins/db.py", 6, 1)
    start = ServicePool().start(
        {"db": replace(recipe("db", lambda: slow), place=lambda _: where)}, GATEWAY
    )
    starting = asyncio.create_task(start)
    await until(lambda: caplog.messages)
    assert caplog.messages == [
        "services.db has not started after 0 s, and may take 30 s (plugins/db.py:6:1)"
    ]
    slow.go.set()
    await starting


async def test_a_service_that_does_not_end_holds_up_nobody(pool: ServicePool, caplog) -> None:
    slow, other = Slow(leaving=True), Slow()
    recipes = {"other": recipe("other", lambda: other), "slow": recipe("slow", lambda: slow)}
    services = await pool.start(recipes, GATEWAY)
    assert services.slow is slow
    await pool.release(recipes)
    assert caplog.messages == ["service slow did not close within 0.02 s"]
    slow.go.set()
    again = await pool.start(recipes, GATEWAY)
    assert again.slow is slow
    await pool.release(recipes)
