"""Tasks that start at once instead of on the next turn of the loop, and the loop that allows it.

Most packets are answered without waiting for anything. Such a packet should not cost a turn of the
event loop, but still needs its own task, so that `current_task`, cancellation, timeouts and
`contextvars` work as plugins expect. Python 3.12 can do this (`eager_start`). On 3.11 a new task
passes its first step to `loop.call_soon`, which is replaced for that moment to run it at once.
The loop's class must be written in Python for that: uvloop's own class is not.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from importlib import import_module
from typing import Any

__all__ = ["Work", "import_event_loop", "new_event_loop", "start"]

Work = Coroutine[Any, Any, None]

NAME = "packet"
"""The name of every packet's task: the numbered names that asyncio makes cost more."""


def import_event_loop() -> None:
    """Import what `new_event_loop` needs, for processes that are forked from this one."""
    with suppress(ModuleNotFoundError):
        import_module("uvloop")


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Make the event loop of a gateway: uvloop's, if the platform has it."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ModuleNotFoundError:
        return asyncio.new_event_loop()

    class Loop(uvloop.Loop):
        """A uvloop whose `call_soon` can be replaced."""

    return Loop()


if sys.version_info >= (3, 12):

    def start(loop: asyncio.AbstractEventLoop, work: Work) -> asyncio.Task[None]:
        """Run `work` in a new task up to where it first waits; the task may be done already."""
        return asyncio.Task(work, loop=loop, name=NAME, eager_start=True)

else:
    # Documented for custom tasks: "Extending asyncio" in Python's manual.
    from asyncio.tasks import _enter_task, _leave_task

    def start(loop: asyncio.AbstractEventLoop, work: Work) -> asyncio.Task[None]:
        """Run `work` in a new task up to where it first waits; the task may be done already."""
        if not hasattr(loop, "__dict__"):  # not a Python class: `call_soon` is read-only
            return loop.create_task(work)
        first = _FirstStep()
        loop.call_soon = first.take  # type: ignore[assignment, method-assign]
        try:
            task = asyncio.Task(work, loop=loop, name=NAME)
        finally:
            del loop.call_soon  # the class's own again
        caller = asyncio.current_task(loop)
        if caller is None:
            first.context.run(first.step)
            return task
        _leave_task(loop, caller)
        try:
            first.context.run(first.step)
        finally:
            _enter_task(loop, caller)
        return task

    class _FirstStep:
        """The first step of a new task, which the task passes to its loop."""

        __slots__ = ("context", "step")

        step: Callable[[], None]
        context: Context

        def take(self, step: Callable[[], None], *, context: Context) -> None:
            """Keep the step; replaces `loop.call_soon` while a task is made."""
            self.step, self.context = step, context
