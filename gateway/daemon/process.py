"""The daemon's process: its event loop, its garbage collector, and an end that nothing holds up."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from gateway.http.descriptors import raise_descriptor_limit
from gateway.runtime.tasks import new_event_loop

__all__ = ["run"]

log = logging.getLogger("sockgw.server")

T = TypeVar("T")

GC_THRESHOLDS = (1000, 10, 100)
"""A full collection scans every object of every socket and stalls them all, so it runs ten times
less often than by default. Packets are freed without it."""

PATIENCE = 2.0
"""Seconds for tasks, and then for threads, that plugins started and did not end."""


def run(
    serve: Callable[[Callable[[T], None]], Coroutine[Any, Any, None]], started: Callable[[T], None]
) -> None:
    """Run `serve` to its end; it calls `started` once it serves.

    Ends the process with EX_SOFTWARE when tasks or threads of plugins do not end. Raises what
    `serve` does.
    """

    def tuned(info: T) -> None:
        _tune_garbage_collector()
        started(info)

    raise_descriptor_limit()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_to_the_end(serve(tuned)))
        _leave_threads()


def _tune_garbage_collector() -> None:
    """Freeze all existing objects, so that they are never scanned. Call it after all imports."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    calls = ThreadPoolExecutor(thread_name_prefix="asyncio")
    asyncio.get_running_loop().set_default_executor(calls)
    await work
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=PATIENCE)
    calls.shutdown(wait=False, cancel_futures=True)
    if late := [task for task in tasks if not task.done()]:
        names = ", ".join(sorted(getattr(task.get_coro(), "__qualname__", "?") for task in late))
        log.error("tasks of plugins did not end when cancelled: %s", names)
        os._exit(os.EX_SOFTWARE)  # any other way out waits for them


def _leave_threads() -> None:
    """Exit without waiting longer for threads that plugins left running."""
    limit = time.monotonic() + PATIENCE
    threads = [each for each in threading.enumerate() if not each.daemon]
    threads.remove(threading.main_thread())
    for thread in threads:
        thread.join(max(0.0, limit - time.monotonic()))
    if late := [thread.name for thread in threads if thread.is_alive()]:
        log.error("threads of plugins did not end: %s", ", ".join(sorted(late)))
        os._exit(os.EX_SOFTWARE)
