"""What the operating system may ask of the daemon: to stop, and to reload."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from types import FrameType

__all__ = ["signals"]

log = logging.getLogger("sockgw.server")


@contextmanager
def signals(stop: Callable[[str], None], reload: Callable[[], None]) -> Iterator[None]:
    """Have SIGINT and SIGTERM call `stop` with their name, and SIGHUP `reload`, in the loop.

    A second SIGINT or SIGTERM ends the process at once, with 128 and the signal's number as its
    exit code. Only for the main thread.
    """
    loop = asyncio.get_running_loop()
    asked = count()  # in one step, since a signal may come while another is handled

    # Not by `loop.add_signal_handler`: a handler that blocks the loop would keep out the second.
    def on_stop(number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if next(asked):
            log.warning("%s again: ending at once", name)
            os._exit(128 + number)
        loop.call_soon_threadsafe(stop, name)

    def on_reload(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(reload)

    handlers = {signal.SIGINT: on_stop, signal.SIGTERM: on_stop, signal.SIGHUP: on_reload}
    former = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, former[number])
