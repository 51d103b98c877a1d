"""The reloader: one reload at a time, none lost, and nothing ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest

from gateway.daemon.plan import Plan
from gateway.daemon.reload import Reloader, Triggers, Verdict
from gateway.errors import ConfigError, Place, Problem
from tests.deadline import deadline

PROBLEM = Problem(Place("gateway.yaml", 3, 5), "server.port", "expected a port")


class Gate:
    """A loader that waits until it is let through; `result` is what becomes of the reload."""

    def __init__(self) -> None:
        self.count = 0
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.result: Plan | Exception | None = Plan(("+ /",))

    async def snapshot(self, file: Path, former: object) -> Any:
        self.count += 1
        self.entered.set()
        await self.open.wait()
        if isinstance(self.result, Exception):
            raise self.result
        return MagicMock()

    async def prepare(self, snapshot: object, *, anyway: bool) -> Any:
        if self.result is None:
            return None
        return MagicMock(plan=self.result, warnings=(), commit=AsyncMock())


@asynccontextmanager
async def running(
    gate: Gate, reloaded: Callable[[Verdict], None] = lambda _: None
) -> AsyncIterator[tuple[Reloader, Triggers]]:
    """A reloader whose gateway is at generation 7."""
    fleet = MagicMock(generation=7, prepare=gate.prepare)
    door = MagicMock(prepare=MagicMock(return_value=AsyncMock()))
    triggers = Triggers()
    reloader = Reloader(
        Path("gateway.yaml"),
        triggers,
        loading=gate,
        fleet=fleet,
        doors=[door],
        watcher=MagicMock(),
        last_good=MagicMock(),
        metrics=MagicMock(),
        notifier=MagicMock(),
        reloaded=reloaded,
    )
    task = asyncio.create_task(reloader.run())
    try:
        async with deadline():
            yield reloader, triggers
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_what_is_asked_for_during_a_reload_becomes_exactly_one_more() -> None:
    gate = Gate()
    async with running(gate) as (reloader, triggers):
        first = asyncio.create_task(reloader.request("admin"))
        await gate.entered.wait()
        for _ in range(20):
            triggers.want("watch")
        later = [asyncio.create_task(reloader.request("signal")) for _ in range(5)]
        await asyncio.sleep(0)  # the requests are made
        gate.open.set()
        verdicts = await asyncio.gather(first, *later)
        assert gate.count == 2
        assert [verdict.trigger for verdict in verdicts] == ["admin"] + ["signal"] * 5
        assert all(verdict is verdicts[1] for verdict in verdicts[1:])


async def test_a_reload_is_told_before_those_who_wait_go_on() -> None:
    gate = Gate()
    gate.open.set()
    heard: list[Verdict] = []
    async with running(gate, heard.append) as (reloader, _):
        assert heard == [await reloader.request("admin")]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (Plan(("+ /",)), ("applied", ())),
        (Plan(), ("applied", ())),
        (None, ("unchanged", ())),
        (ConfigError([PROBLEM]), ("failed", ("gateway.yaml:3:5: server.port: expected a port",))),
        (
            ZeroDivisionError("by zero"),
            (
                "failed",
                ("gateway.yaml:1:1: a fault in the gateway itself: ZeroDivisionError('by zero')",),
            ),
        ),
    ],
)
async def test_whatever_becomes_of_a_reload_is_a_verdict_and_the_next_one_runs(
    result: Plan | Exception | None, expected: tuple[str, tuple[str, ...]]
) -> None:
    gate = Gate()
    gate.open.set()
    gate.result = result
    async with running(gate) as (reloader, _):
        for _ in range(2):
            verdict = await reloader.request("admin")
            assert (verdict.result, tuple(map(str, verdict.problems))) == expected
            assert verdict.generation == 7
        assert gate.count == 2


async def test_a_listener_that_fails_takes_nobody_along(caplog) -> None:
    gate = Gate()
    gate.open.set()

    def fail(verdict: Verdict) -> None:
        raise OSError("no space left on device")

    async with running(gate, fail) as (reloader, _):
        for _ in range(2):
            assert (await reloader.request("admin")).result == "applied"
    assert "no space left on device" in caplog.text


async def test_those_who_gave_up_waiting_are_no_trouble() -> None:
    gate = Gate()
    async with running(gate) as (reloader, _):
        impatient = asyncio.create_task(reloader.request("admin"))
        await gate.entered.wait()
        impatient.cancel()
        await asyncio.wait({impatient})
        gate.open.set()
        assert (await reloader.request("admin")).result == "applied"


async def test_those_who_wait_when_the_gateway_stops_are_told() -> None:
    gate = Gate()
    async with running(gate) as (reloader, _):
        during = asyncio.create_task(reloader.request("admin"))
        await gate.entered.wait()
        queued = asyncio.create_task(reloader.request("signal"))
        await asyncio.sleep(0)  # the request is made
    async with deadline():
        verdicts = [await during, await queued, await reloader.request("admin")]
    for verdict in verdicts:
        assert verdict.result == "failed"
        assert list(map(str, verdict.problems)) == ["gateway.yaml:1:1: the gateway is stopping"]
