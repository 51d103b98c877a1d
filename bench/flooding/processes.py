"""Clients in processes of their own, each at the end of a pipe."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

__all__ = ["started"]

WAIT = 120.0
"""Seconds that a process has to be ready, and to answer."""

_FORK = multiprocessing.get_context("fork")


@contextmanager
def started(client: Callable[..., None], *args: object) -> Iterator[Connection]:
    """Run `client(*args, pipe)` in a process that is killed in the end; gives our end of the pipe.

    It has to send something first, as a sign that it is ready. Raises `RuntimeError` if it does
    not.
    """
    ours, its = _FORK.Pipe()
    process = _FORK.Process(target=client, args=(*args, its))
    process.start()
    its.close()
    try:
        if not ours.poll(WAIT):
            raise RuntimeError(f"{client.__name__} is not ready")
        try:
            ours.recv()
        except EOFError:
            raise RuntimeError(f"{client.__name__} has failed") from None
        yield ours
    finally:
        process.kill()
        process.join()
        ours.close()
