"""Which exceptions a plugin has to answer for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from inspect import currentframe
from typing import Any

import pytest

from gateway.runtime.outcome import is_fault


async def chain(wait: asyncio.Future[None], seen: list[bool]) -> None:
    try:
        await wait
        raise GeneratorExit
    except GeneratorExit as error:
        seen.append(is_fault(error, currentframe()))


async def started(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    return task


async def test_a_generator_exit_that_a_plugin_raises_is_its_fault() -> None:
    wait, seen = asyncio.get_running_loop().create_future(), list[bool]()
    task = await started(chain(wait, seen))
    wait.set_result(None)
    await task
    assert seen == [True]


async def test_a_generator_exit_of_the_interpreter_is_nobodys_fault() -> None:
    wait, seen = asyncio.get_running_loop().create_future(), list[bool]()
    work = chain(wait, seen)
    work.send(None)  # no task runs it
    work.close()
    assert seen == [False]


def test_nor_is_it_without_a_loop() -> None:
    loop = asyncio.new_event_loop()
    wait, seen = loop.create_future(), list[bool]()
    work = chain(wait, seen)
    work.send(None)
    loop.close()
    work.close()
    assert seen == [False]


@pytest.mark.parametrize(
    ("error", "is_theirs"),
    [
        (KeyError(), True),
        (SystemExit(), True),
        (BaseException(), True),
        (BaseExceptionGroup("", [BaseException()]), True),
        (KeyboardInterrupt(), False),
        (asyncio.CancelledError(), False),
    ],
)
def test_what_ends_the_daemon_or_cancels_is_nobodys_fault(
    error: BaseException, is_theirs: bool
) -> None:
    assert is_fault(error, None) is is_theirs
