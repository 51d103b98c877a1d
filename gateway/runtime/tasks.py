"""Starting a task at once instead of on the loop's next round, and the loop that allows it.

Most packets are answered without waiting for anything. Such a packet should not cost a turn of the
event loop, but it should still run in a task of its own: `current_task`, cancellation, time-outs
and `contextvars` must be what a plugin expects. Python 3.12 has this (`eager_start`); on 3.11 the
first step, which a new task hands to its loop, is taken from it and run. That takes a loop whose
class is Python's: uvloop's own would keep its `call_soon`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

__all__ = ["Work", "new_event_loop", "start"]

Work = Coroutine[Any, Any, None]

NAME = "packet"
"""The name of every packet's task: the numbers that asyncio gives cost more."""


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Make the loop that a gateway runs on: uvloop's, where there is one for the platform."""
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
    # Documented for those who make tasks of their own: "Extending asyncio" in Python's manual.
    from asyncio.tasks import _enter_task, _leave_task

    def start(loop: asyncio.AbstractEventLoop, work: Work) -> asyncio.Task[None]:
        """Run `work` in a new task up to where it first waits; the task may be done already."""
        if not hasattr(loop, "__dict__"):  # a loop that is no Python class keeps its `call_soon`
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
        """The first step of a new task, which it asks its loop to run."""

        __slots__ = ("context", "step")

        step: Callable[[], None]
        context: Context

        def take(self, step: Callable[[], None], *, context: Context) -> None:
            """Replaces `loop.call_soon` while a task is made."""
            self.step, self.context = step, context
