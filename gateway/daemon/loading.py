"""Loading in a thread, within a time limit: plugin code runs at import, and it may do anything."""

from __future__ import annotations

import asyncio
import ctypes
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

from gateway import loader
from gateway.compiler import Build
from gateway.errors import ConfigError, Place, Problem

__all__ = ["load_within"]

SWITCH = 0.0005
"""Seconds a loading thread may keep the interpreter while packets wait for it."""

PATIENCE = 0.1
"""Seconds between two attempts to interrupt a thread that is late."""

ATTEMPTS = 20

_NORMAL = sys.getswitchinterval()
_PACKAGE = str(Path(__file__).parents[1])


class LoadTimeout(BaseException):
    """Raised inside plugin code that takes too long."""

    def __str__(self) -> str:
        return "took longer than reload.load_timeout"


async def load_within(seconds: float | None, load: Callable[[], Build], file: str) -> Build:
    """Call `load` in a thread, within a time limit unless it is `None`. Raises `ConfigError`.

    Code that loops is interrupted where it is, which makes a problem at its author's line. A
    thread blocked outside Python cannot be interrupted: it is left behind.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Build] = loop.create_future()
    thread = threading.Thread(target=_run, args=(load, loop, done, file), name="load", daemon=True)
    sys.setswitchinterval(SWITCH)
    try:
        thread.start()
        await asyncio.wait({done}, timeout=seconds)
        for _ in range(ATTEMPTS):
            if done.done():
                return done.result()
            _interrupt(thread)
            await asyncio.wait({done}, timeout=PATIENCE)
    finally:
        sys.setswitchinterval(_NORMAL)
        done.cancel()
        loader.abandon(thread)
    message = f"loading took longer than {seconds:g} s and cannot be interrupted"
    raise ConfigError([Problem(Place(file), "", message)])


def _run(
    load: Callable[[], Build],
    loop: asyncio.AbstractEventLoop,
    done: asyncio.Future[Build],
    file: str,
) -> None:
    result: Build | Exception
    try:
        result = load()
    except Exception as error:
        result = error
    except BaseException as error:  # of a factory, and no reason to end the daemon
        result = ConfigError([_problem(error, file)])
    with suppress(RuntimeError):  # the loop was closed meanwhile
        loop.call_soon_threadsafe(_settle, done, result)


def _settle(done: asyncio.Future[Build], result: Build | Exception) -> None:
    if done.done():
        return
    if isinstance(result, Exception):
        done.set_exception(result)
    else:
        done.set_result(result)


def _problem(error: BaseException, file: str) -> Problem:
    """At the line that ours called."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith((_PACKAGE, "<"))]
    place = Place(theirs[0].filename, theirs[0].lineno or 1) if theirs else Place(file)
    return Problem(place, "", f"cannot load: {type(error).__name__}: {error}")


def _interrupt(thread: threading.Thread) -> None:
    """Raise `LoadTimeout` in the thread; not while it changes what others see."""
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is not None and not _is_exchanging(frame):
        number = ctypes.c_ulong(thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(number, ctypes.py_object(LoadTimeout))


def _is_exchanging(frame: FrameType | None) -> bool:
    """Whether the innermost of our own functions is one that exchanges modules, or is done."""
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("gateway."):
            return name in ("gateway.loader.places", __name__)
        frame = frame.f_back
    return False
