"""Signals: SIGINT and SIGTERM stop the daemon, SIGHUP reloads it, SIGUSR2 upgrades it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from _thread import start_new_thread
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from types import FrameType

__all__ = ["signals"]

log = logging.getLogger("sockgw.server")

STOPS = (signal.SIGINT, signal.SIGTERM)
OTHERS = (signal.SIGHUP, signal.SIGUSR2)

_ending = threading.Lock()

LAST_LINE = 0.5
"""Seconds for the log line on a second signal: a log that blocks must not delay the exit."""


@contextmanager
def signals(
    stop: Callable[[str], None], reload: Callable[[], None], upgrade: Callable[[], None]
) -> Iterator[None]:
    """Let SIGINT and SIGTERM call `stop` with their name, in the loop; SIGHUP, SIGUSR2 the others.

    A second SIGINT or SIGTERM ends the process at once, whatever the main thread is doing; the exit
    code is 128 plus the signal's number. To be entered in the main thread.
    """
    loop = asyncio.get_running_loop()
    asked = count()  # atomic: a signal may interrupt the handling of another

    def on_first(number: int) -> None:
        if next(asked) == 0:
            loop.call_soon_threadsafe(stop, signal.Signals(number).name)

    in_thread, in_handler = _Stops(on_first), _Stops(on_first)

    # `loop.add_signal_handler` would miss the second signal while the loop is blocked.
    def on_stop(number: int, frame: FrameType | None) -> None:
        in_handler.saw(number)

    def on_other(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(reload if number == signal.SIGHUP else upgrade)

    handlers = {**dict.fromkeys(STOPS, on_stop), **dict.fromkeys(OTHERS, on_other)}
    former = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        with _listening(in_thread.saw):
            yield
    finally:
        for number, handler in handlers.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, former[number])


class _Stops:
    """Counts stop signals as one of the two ways sees them."""

    def __init__(self, on_first: Callable[[int], None]) -> None:
        self._on_first = on_first
        self._count = count()

    def saw(self, number: int) -> None:
        if next(self._count):
            _end(number)
        self._on_first(number)


def _end(number: int) -> None:
    # The interrupted thread may hold the lock of the log or of `threading`.
    if _ending.acquire(blocking=False):
        start_new_thread(_say_and_exit, (number,))
        start_new_thread(_exit_soon, (number,))


def _say_and_exit(number: int) -> None:
    try:
        log.warning("%s again: ending at once", signal.Signals(number).name)
    finally:
        os._exit(128 + number)


def _exit_soon(number: int) -> None:
    time.sleep(LAST_LINE)
    os._exit(128 + number)


@contextmanager
def _listening(on_stop: Callable[[int], None]) -> Iterator[None]:
    """Watch for stop signals in a thread as well.

    Python runs handlers in the main thread alone, and that may be in a system call: a signal that
    the kernel gives to another thread does not even interrupt it. Every signal is written to the
    wake-up descriptor when it comes, whichever thread it comes to.
    """
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    former = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)

    def listen() -> None:
        while data := ours.recv(64):
            if former >= 0:  # the loop's own, which wakes it
                with suppress(OSError):
                    os.write(former, data)
            for number in data:
                if number in STOPS:
                    on_stop(number)

    thread = threading.Thread(target=listen, name="sockgw signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        found = signal.set_wakeup_fd(former)
        if found != theirs.fileno():  # another one was set meanwhile
            signal.set_wakeup_fd(found)
        theirs.shutdown(socket.SHUT_RDWR)
        thread.join()
        theirs.close()
        ours.close()
