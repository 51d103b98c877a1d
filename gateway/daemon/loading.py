"""Loading in a thread, within a time limit: plugin code runs at import, and it may do anything."""

from __future__ import annotations

import asyncio
import ctypes
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TypeVar

from gateway import loader
from gateway.compiler import Build, compile_snapshot
from gateway.config.model import GatewayConfig
from gateway.errors import ConfigError, Place, Problem
from gateway.snapshot import Snapshot, take_snapshot

__all__ = ["Loading", "load_within"]

T = TypeVar("T")

SWITCH = 0.0005
"""Seconds a loading thread may keep the interpreter while packets wait for it."""

PATIENCE = 0.1
"""Seconds between two attempts to interrupt a thread that is late."""

ATTEMPTS = 20

_NORMAL = sys.getswitchinterval()
_OURS = (str(Path(__file__).parents[1]), str(Path(threading.__file__).parent), "<")
"""What the names of files begin with that no plugin's author can change."""


class LoadTimeout(BaseException):
    """Raised inside plugin code that takes too long."""

    def __str__(self) -> str:
        return "took longer than reload.load_timeout"


class UnheardTimeouts:
    """An unraisable hook that passes over each `LoadTimeout` and leaves the rest to `former`.

    One that is raised in a finalizer goes no further. There is nothing to say of it, since the
    thread is interrupted again.
    """

    def __init__(self, former: Callable[[sys.UnraisableHookArgs], object]) -> None:
        self._former = former

    def __call__(self, unraisable: sys.UnraisableHookArgs) -> None:
        if not isinstance(unraisable.exc_value, LoadTimeout):
            self._former(unraisable)


class Loading:
    """Reads files and compiles them away from the event loop, one compilation at a time."""

    def __init__(self, environ: Mapping[str, str], *, trace: bool) -> None:
        self._environ = environ
        self._trace = trace
        self._lock = asyncio.Lock()

    async def snapshot(
        self, file: Path, former: GatewayConfig | None = None, beside: Path | None = None
    ) -> Snapshot:
        """Read `file` and everything it leads to; see `take_snapshot`.

        `former` is the config that serves, which limits the time. Raises `ConfigError` when that is
        not enough.
        """
        take = partial(take_snapshot, file, self._environ, beside)
        return await load_within(_limit(former), take, str(file))

    async def build(self, snapshot: Snapshot, former: Build | None = None) -> Build:
        """Compile a snapshot as the successor of `former`. Raises `ConfigError`."""
        compiled = partial(compile_snapshot, snapshot, trace=self._trace, former=former)
        async with self._lock:
            limit = _limit(former.config if former else None)
            return await load_within(limit, compiled, str(snapshot.file))


def _limit(former: GatewayConfig | None) -> float | None:
    return former.reload.load_timeout if former else None


async def load_within(seconds: float | None, load: Callable[[], T], file: str) -> T:
    """Call `load` in a thread; `seconds` of `None` is no time limit. Raises `ConfigError`.

    Code that loops is interrupted where it is, which makes a problem at its author's line. A
    thread blocked outside Python cannot be interrupted: it is left behind.
    """
    result: Future[T] = Future()
    result.set_running_or_notify_cancel()
    thread = threading.Thread(target=_run, args=(load, result, file), name="load", daemon=True)
    done = asyncio.wrap_future(result)
    place: Place | None = None
    sys.setswitchinterval(SWITCH)
    try:
        thread.start()
        await asyncio.wait({done}, timeout=seconds)
        for _ in range(ATTEMPTS):
            if done.done():
                return done.result()
            _interrupt(thread)
            place = _place(thread)
            await asyncio.wait({done}, timeout=PATIENCE)
    finally:
        sys.setswitchinterval(_NORMAL)
        done.cancel()
        loader.abandon(thread)
    message = f"loading took longer than {seconds:g} s and cannot be interrupted"
    raise ConfigError([Problem(place or Place(file), "", message)])


def _run(load: Callable[[], T], result: Future[T], file: str) -> None:
    try:
        result.set_result(load())
    except Exception as error:
        result.set_exception(error)
    except BaseException as error:  # raised by a factory; it must not end the daemon
        result.set_exception(ConfigError([_problem(error, file)]))


def _problem(error: BaseException, file: str) -> Problem:
    """The problem at the outermost line that is not the gateway's own, nor Python's."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(_OURS)]
    place = Place(theirs[0].filename, theirs[0].lineno or 1) if theirs else Place(file)
    return Problem(place, "", f"cannot load: {type(error).__name__}: {error}")


def _place(thread: threading.Thread) -> Place | None:
    """Return the outermost line that a thread is at, and that is not the gateway's or Python's."""
    found = None
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if not frame.f_code.co_filename.startswith(_OURS):
            found = Place(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return found


def _interrupt(thread: threading.Thread) -> None:
    """Raise `LoadTimeout` in the thread, unless it is changing `sys.modules`."""
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is not None and not _is_exchanging(frame):
        if not isinstance(sys.unraisablehook, UnheardTimeouts):
            sys.unraisablehook = UnheardTimeouts(sys.unraisablehook)
        number = ctypes.c_ulong(thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(number, ctypes.py_object(LoadTimeout))


def _is_exchanging(frame: FrameType | None) -> bool:
    """Tell whether the innermost gateway function changes `sys.modules`, or is done."""
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("gateway."):
            return name in ("gateway.loader.sysmodules", __name__)
        frame = frame.f_back
    return False
