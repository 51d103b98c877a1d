"""Starting a task at once instead of on the loop's next round.

Most packets are answered without waiting for anything. Such a packet should not cost a turn of the
event loop, but it should still run in a task of its own: `current_task`, cancellation, time-outs
and `contextvars` must be what a plugin expects. Python 3.12 has this (`eager_start`); on 3.11 the
first step, which a new task hands to its loop, is taken from it and run.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

__all__ = ["Work", "start"]

Work = Coroutine[Any, Any, None]

if sys.version_info >= (3, 12):

    def start(loop: asyncio.AbstractEventLoop, work: Work) -> asyncio.Task[None]:
        """Run `work` in a new task up to where it first waits; the task may be done already."""
        return asyncio.Task(work, loop=loop, eager_start=True)

else:
    from asyncio import current_task
    from asyncio.tasks import _enter_task, _leave_task

    def start(loop: asyncio.AbstractEventLoop, work: Work) -> asyncio.Task[None]:
        """Run `work` in a new task up to where it first waits; the task may be done already."""
        if not hasattr(loop, "__dict__"):  # a loop that is no Python class keeps its `call_soon`
            return loop.create_task(work)
        first = _FirstStep()
        loop.call_soon = first  # type: ignore[assignment, method-assign]
        try:
            task = asyncio.Task(work, loop=loop)
        finally:
            del loop.call_soon  # the class's own again
        caller = current_task(loop)
        if caller is not None:
            _leave_task(loop, caller)
        try:
            first.context.run(first.step)
        finally:
            if caller is not None:
                _enter_task(loop, caller)
        return task

    class _FirstStep:
        """Stands for `loop.call_soon` while a task is made, and keeps what the task asks for."""

        __slots__ = ("context", "step")

        step: Callable[[], None]
        context: Context

        def __call__(self, step: Callable[[], None], *, context: Context) -> None:
            self.step, self.context = step, context
