"""A spool: messages for one backend that wait on disk until they are told."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import inf
from time import monotonic
from typing import ParamSpec, TypeVar

from gateway.backends.spool_copy import Claim, SpoolCopy
from gateway.backends.spool_file import Change, CopyState, SpoolError, SpoolFile, SpoolFolder
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
    that were too many. `changed` is set when there may be something new. `copy` is for other
    machines, `None` if there are none.
    """

    def __init__(
        self, name: str, folder: SpoolFolder, bounds: SpoolConfig, copy: SpoolCopy | None = None
    ) -> None:
        self.name, self.folder, self.bounds, self.copy = name, folder, bounds, copy
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
            file = self.folder.take(is_copied=self.copy is not None)
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
            dropped = self._changes.popleft()
            if self.copy is not None:
                self.copy.forget([dropped.socket])
            self._drop(1)
        self.write_soon()

    async def next(self, most: int) -> list[tuple[int, bytes]]:
        """Return the oldest messages that were not told, each with its number."""
        try:
            return await self._do(self._its.read, self._told, most)
        except sqlite3.Error as error:
            self._complain(error)
            return []

    def forget(self, number: int, ended: Sequence[str] = ()) -> None:
        """Forget the messages up to a number, of which these sockets' ends are: they were told."""
        self._told = number
        if self.copy is not None:
            self.copy.forget(ended)
        self.write_soon()

    async def put(self, changes: Sequence[Change]) -> None:
        """Take up changes, and wait until they are on disk. Raises `sqlite3.Error`."""
        told = self._told
        if self.copy is not None:
            await self.copy.write(changes)
        state = self.copy.state if self.copy else CopyState()
        dropped = await self._do(self._its.write, changes, told, self.bounds, state)
        self._forgotten, self._trouble = max(told, self._forgotten), ""
        self._drop(dropped)
        self.changed.set()

    async def adopt(self, now: float, *, tell: bool) -> None:
        """Take up what processes that have ended did not tell, and the ends of their sockets."""

        def adopted() -> tuple[int, int]:
            found = dropped = 0
            for file in self.folder.ended(self._its, is_due):
                if claims.get(file.copy.name) == "done" and file.copy.is_whole:
                    file.clear()
                file.end_all(now, tell=tell)
                found += file.entries
                dropped += self._its.absorb(file, self.bounds)
            return found, dropped

        def is_due(copy: CopyState) -> bool:
            return self.copy is None or not copy.name or claims.get(copy.name, "busy") != "busy"

        claims: dict[str, Claim] = {}
        try:
            if self.copy is not None:
                claims = await self.copy.claimed(await self._do(self.folder.copies, self._its))
            found, dropped = await self._do(adopted)
            self._drop(dropped)
            if found:
                log.info("backend %s: messages of a process that has ended are told", self.name)
                self.changed.set()
            if self.copy is not None:
                if found:
                    self.copy.anew()
                    self.write_soon()
                await self.copy.finish(name for name in claims if claims[name] == "won")
                await self.copy.take_over(self.put, now)
        except (OSError, sqlite3.Error) as error:
            self._complain(error)

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
            if self.copy is not None:
                self.copy.anew()
            await self._write()

        self.dropped = other.dropped
        self.copy, other.copy = other.copy, None
        self._writing = asyncio.get_running_loop().create_task(move())

    async def flush(self) -> None:
        """Wait until all changes are on disk, or until the disk has refused them."""
        self._is_closing = True
        if self._writing is not None:
            await self._writing

    async def close(self) -> None:
        """Write what is left to write, and let others have the file."""
        await self.flush()
        if self.copy is not None:
            await self.copy.remove()
        try:
            await self._do(self.folder.give_back, self._its)
        except (OSError, sqlite3.Error) as error:
            self._complain(error)
        self._thread.shutdown(wait=False)

    async def drop(self) -> int:
        """Delete the file; returns how many messages were in it."""
        await self.flush()
        if self.copy is not None:
            await self.copy.remove()
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

    def write_soon(self) -> None:
        """Write what is to be written, to the disk and to the copy."""
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    @property
    def _has_work(self) -> bool:
        if self._changes or self._told > self._forgotten:
            return True
        if self.copy is None or self._is_closing:
            return False
        return self.copy.has_work or self.copy.state != self._its.copy

    async def _write(self) -> None:
        """Write until nothing is left to write."""
        try:
            while self._has_work:
                if not self._is_closing:
                    await asyncio.sleep(AGAIN if self._trouble else COMMIT)
                changes, self._changes = self._changes, deque()
                try:
                    await self.put(changes)
                except sqlite3.Error as error:
                    changes.extend(self._changes)
                    self._changes = changes
                    self._complain(error)
                if self._is_closing and self._trouble:
                    return
                if self.copy is not None and self.copy.has_work and not self._is_closing:
                    await self.copy.go_on(
                        lambda after, most: self._do(self._its.ends, self._told, after, most)
                    )
        finally:
            self._writing = None

    def _drop(self, count: int) -> None:
        if not count:
            return
        self.dropped += count
        ended, self._its.dropped_ends = self._its.dropped_ends, deque()
        if self.copy is not None:
            self.copy.forget([*ended])
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
