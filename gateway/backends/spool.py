"""A spool: messages for one backend that wait on disk until they are told."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from math import inf
from time import monotonic
from typing import ParamSpec, TypeVar

from gateway.backends.spool_file import Change, SpoolError, SpoolFile, SpoolFolder
from gateway.config import SpoolConfig

__all__ = ["Spool"]

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("sockgw.backend")

COMMIT = 0.02
"""Seconds between a change and its commit, with all that come meanwhile."""

AGAIN = 1.0
"""Seconds until it is tried again to write what the disk has not taken."""

PAUSE = 10.0
"""Seconds between two log lines about a full spool."""


class Spool:
    """The spool of this process for the backend `name`: what the event loop has of a `SpoolFile`.

    All that touches the disk runs in a thread. `bounds` may be changed. `dropped` counts messages
    that were too many. `changed` is set when there may be something new.
    """

    def __init__(self, name: str, folder: SpoolFolder, bounds: SpoolConfig) -> None:
        self.name, self.folder, self.bounds = name, folder, bounds
        self.changed = asyncio.Event()
        self.dropped = 0
        self._thread = ThreadPoolExecutor(1, f"spool {name}")
        self._file: SpoolFile | None = None
        self._changes: deque[Change] = deque()
        self._told = self._forgotten = 0
        self._writing: asyncio.Task[None] | None = None
        self._is_closing = False
        self._trouble = ""
        self._complained = -inf

    @property
    def entries(self) -> int:
        """The messages that wait."""
        return self._file.entries if self._file else 0

    @property
    def size(self) -> int:
        """The bytes of the messages that wait."""
        return self._file.bytes if self._file else 0

    async def open(self, now: float, *, tell: bool) -> None:
        """Take a file, and end the sockets of the process that had it. Raises `SpoolError`."""

        def taken() -> SpoolFile:
            file = self.folder.take()
            try:
                file.end_all(now, tell=tell)
            except sqlite3.Error as error:
                file.close()
                raise SpoolError(f"{file.path} cannot be used: {error}") from error
            return file

        try:
            self._file = await self._do(taken)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise

    def add(self, change: Change) -> None:
        """Take up a change; it is on disk soon, and `next` gives its message then."""
        self._changes.append(change)
        if len(self._changes) > self.bounds.entries:  # the disk does not take them
            self._changes.popleft()
            self._drop(1)
        self._write_soon()

    async def next(self, most: int) -> list[tuple[int, bytes]]:
        """Return the oldest messages that were not told, each with its number."""
        try:
            return await self._do(self._its.read, self._told, most)
        except sqlite3.Error as error:
            self._complain(error)
            return []

    def forget(self, number: int) -> None:
        """Forget the messages up to a number: they were told."""
        self._told = number
        self._write_soon()

    async def adopt(self, now: float, *, tell: bool) -> None:
        """Take up what processes that have ended did not tell, and the ends of their sockets."""

        def adopted() -> int:
            dropped = 0
            for file in self.folder.ended(self._its):
                file.end_all(now, tell=tell)
                dropped += self._its.absorb(file, self.bounds)
            return dropped

        before = self.entries
        try:
            self._drop(await self._do(adopted))
        except (OSError, sqlite3.Error) as error:
            self._complain(error)
        if self.entries > before:
            log.info("backend %s: messages of a process that has ended are told", self.name)
            self.changed.set()

    def follow(self, other: Spool, stop: Callable[[], Awaitable[None]]) -> None:
        """Take up all that is in another spool, and close that; what is added comes behind it.

        `stop` is awaited before: it ends what uses the other.
        """

        def moved() -> int:
            dropped = self._its.absorb(other._its, self.bounds)
            other._its.delete()
            return dropped

        async def move() -> None:
            await stop()
            await other.flush()
            try:
                self._drop(await self._do(moved))
            except (OSError, sqlite3.Error) as error:
                self._complain(error)
            other._thread.shutdown(wait=False)
            self.changed.set()
            await self._write()

        self.dropped = other.dropped
        self._writing = asyncio.get_running_loop().create_task(move())

    async def flush(self) -> None:
        """Wait until all changes are on disk, or until the disk has refused them."""
        self._is_closing = True
        if self._writing is not None:
            await self._writing

    async def close(self) -> None:
        """Write what is left to write, and let others have the file."""
        await self.flush()
        try:
            await self._do(self.folder.give_back, self._its)
        except (OSError, sqlite3.Error) as error:
            self._complain(error)
        self._thread.shutdown(wait=False)

    async def drop(self) -> int:
        """Delete the file; returns how many messages were in it."""
        await self.flush()
        entries = self.entries
        try:
            await self._do(self._its.delete)
        except (OSError, sqlite3.Error) as error:
            self._complain(error)
        self._thread.shutdown(wait=False)
        return entries

    @property
    def _its(self) -> SpoolFile:
        assert self._file is not None
        return self._file

    async def _do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        assert not kwargs
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    def _write_soon(self) -> None:
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        """Write until nothing is left to write."""
        try:
            while self._changes or self._told > self._forgotten:
                if not self._is_closing:
                    await asyncio.sleep(AGAIN if self._trouble else COMMIT)
                await self._write_once()
                if self._is_closing and self._trouble:
                    return
        finally:
            self._writing = None

    async def _write_once(self) -> None:
        changes, self._changes = self._changes, deque()
        told = self._told
        try:
            dropped = await self._do(self._its.write, changes, told, self.bounds)
        except sqlite3.Error as error:
            changes.extend(self._changes)
            self._changes = changes
            self._complain(error)
            return
        self._forgotten, self._trouble = told, ""
        self._drop(dropped)
        self.changed.set()

    def _drop(self, count: int) -> None:
        if not count:
            return
        self.dropped += count
        if monotonic() - self._complained > PAUSE:
            self._complained = monotonic()
            key = f"backends.{self.name}.sessions.spool"
            log.error(
                "backend %s: its spool is full, %d messages about sockets were dropped so far: to "
                "keep more, raise %s.entries or %s.bytes",
                *(self.name, self.dropped, key, key),
            )

    def _complain(self, error: Exception) -> None:
        if str(error) != self._trouble:  # told once, not with every attempt
            self._trouble = str(error)
            log.error("backend %s: its spool %s: %s", self.name, self.folder.path, error)
