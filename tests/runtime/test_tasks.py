"""A task that starts at once is a task like any other, on every loop the daemon runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest
import uvloop

from gateway.runtime.tasks import new_event_loop, start

COLOUR: ContextVar[str] = ContextVar("COLOUR", default="none")


@pytest.fixture(params=[asyncio.SelectorEventLoop, new_event_loop, uvloop.Loop])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    def run_on(work: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(work)

    return run_on


def started(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    return start(asyncio.get_running_loop(), work)


def test_what_never_waits_is_done_at_once_where_the_loop_allows_it(run):
    async def main() -> None:
        ran = []

        async def work() -> None:
            ran.append(asyncio.current_task())

        task = started(work())
        assert task.done() is hasattr(asyncio.get_running_loop(), "__dict__")
        await task
        assert ran == [task]

    run(main())


def test_the_current_task_is_the_new_one_before_and_after_waiting_and_the_old_one_outside(run):
    async def main() -> None:
        seen = []

        async def work() -> None:
            seen.append(asyncio.current_task())
            await asyncio.sleep(0)
            seen.append(asyncio.current_task())

        me = asyncio.current_task()
        task = started(work())
        assert asyncio.current_task() is me
        await task
        assert seen == [task, task]
        assert asyncio.current_task() is me

    run(main())


def test_context_variables_are_inherited_and_do_not_leak_back(run):
    async def main() -> None:
        COLOUR.set("red")

        async def work() -> None:
            assert COLOUR.get() == "red"
            COLOUR.set("blue")
            await asyncio.sleep(0)
            assert COLOUR.get() == "blue"

        await started(work())
        assert COLOUR.get() == "red"

    run(main())


def test_a_time_out_in_the_first_step_cancels_the_new_task_and_not_its_starter(run):
    async def main() -> None:
        async def work() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await asyncio.Event().wait()

        await started(work())

    run(main())


def test_an_exception_stays_in_the_task(run):
    async def main() -> None:
        async def work() -> None:
            raise KeyError("mine")

        task = started(work())
        with pytest.raises(KeyError, match="mine"):
            await task

    run(main())


def test_it_can_be_cancelled_from_within_and_from_outside(run):
    async def main() -> None:
        async def within() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

        async def outside() -> None:
            await asyncio.Event().wait()

        first, second = started(within()), started(outside())
        second.cancel()
        await asyncio.wait({first, second})
        assert first.cancelled()
        assert second.cancelled()

    run(main())


def test_it_may_start_others_and_be_started_outside_of_any_task(run):
    async def main() -> None:
        order = []

        async def inner(name: str) -> None:
            order.append(name)

        async def outer() -> None:
            await started(inner("first"))
            await started(inner("second"))

        done = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: started(outer()).add_done_callback(lambda _: done.set()))
        await done.wait()
        assert order == ["first", "second"]

    run(main())


def test_the_loop_schedules_as_before(run):
    async def main() -> None:
        ran = asyncio.Event()

        async def work() -> None:
            asyncio.get_running_loop().call_soon(ran.set)

        await started(work())
        await ran.wait()

    run(main())
