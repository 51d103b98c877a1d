"""Loading in a thread, within a time limit: plugin code runs at import, and it may do anything."""

from __future__ import annotations

import asyncio
import ctypes
import sys
import threading
from collections.abc import Callable

from gateway.compiler import Build
from gateway.errors import ConfigError, Place, Problem

__all__ = ["load_within"]

SWITCH = 0.0005
"""Seconds a loading thread may keep the interpreter while packets wait for it."""

PATIENCE = 0.5
"""Seconds between two attempts to interrupt a thread that is late."""


class LoadTimeout(BaseException):
    """Raised inside plugin code that takes too long at import."""

    def __str__(self) -> str:
        return "took longer than reload.load_timeout"


async def load_within(seconds: float, load: Callable[[], Build], file: str) -> Build:
    """Call `load` in a thread. Raises what it raises; after `seconds`, `ConfigError`.

    Code that loops is interrupted where it is, which makes a problem at its author's line. A
    thread blocked outside Python cannot be interrupted: it is left behind.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Build] = loop.create_future()
    thread = threading.Thread(target=_run, args=(load, loop, done), name="load", daemon=True)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    try:
        thread.start()
        await asyncio.wait({done}, timeout=seconds)
        for _ in range(10):
            if done.done():
                return done.result()
            _interrupt(thread)
            await asyncio.wait({done}, timeout=PATIENCE)
    finally:
        sys.setswitchinterval(interval)
    message = f"loading took longer than {seconds:g} s and cannot be interrupted"
    raise ConfigError([Problem(Place(file), "", message)])


def _run(
    load: Callable[[], Build], loop: asyncio.AbstractEventLoop, done: asyncio.Future[Build]
) -> None:
    result: Build | BaseException
    try:
        result = load()
    except BaseException as error:
        result = error
    loop.call_soon_threadsafe(_settle, done, result)


def _settle(done: asyncio.Future[Build], result: Build | BaseException) -> None:
    if done.done():
        return
    if isinstance(result, Build):
        done.set_result(result)
    elif isinstance(result, Exception):
        done.set_exception(result)
    else:
        done.set_exception(RuntimeError(f"{type(result).__name__}: {result}"))


def _interrupt(thread: threading.Thread) -> None:
    if thread.ident is not None and thread.is_alive():
        number = ctypes.c_ulong(thread.ident)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(number, ctypes.py_object(LoadTimeout))
