"""The watcher: notices that files may have changed. The only importer of watchfiles.

An event is only ever a reason to look: what counts is whether the signature of the inputs differs
from the one seen last. A safety poll looks without an event, so a lost one costs at most its
interval.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Literal, Protocol

from watchfiles import Change, awatch

from gateway.daemon.inputs import Inputs, grounds, signature

__all__ = ["Events", "Mode", "Watcher"]

log = logging.getLogger("sockgw.reload")

Mode = Literal["auto", "events", "poll", "off"]

STEP = 40
"""Milliseconds the file system is given to deliver what belongs together: each costs a wake-up."""

RETRY = 5.0
"""Seconds until file events that ended are tried again."""

RARELY = 60.0
"""Seconds between two looks where file events are trusted."""


class Events(Protocol):
    """Where file events come from: an item for every change in the folders, not below them.

    Ends when one of them is gone, for what comes in its place is another folder.
    """

    def __call__(self, folders: Collection[Path]) -> AsyncIterator[object]: ...


async def file_events(folders: Collection[Path]) -> AsyncIterator[object]:
    """The events of the file system, by watchfiles. Raises what watching raises."""
    watched = {str(folder) for folder in folders}
    async for changes in awatch(
        *folders,
        recursive=False,
        step=STEP,
        debounce=STEP,
        watch_filter=None,
        ignore_permission_denied=True,
    ):
        yield changes
        if any(change is Change.deleted and path in watched for change, path in changes):
            return


class Watcher:
    """Calls `changed` when the inputs have changed and then been quiet for `quiet` seconds.

    `find` tells what the inputs are, and is asked again whenever they change. `up` tells whether
    file events arrive; without them the safety poll, every `poll_interval` seconds, is all there
    is.
    """

    def __init__(
        self,
        find: Callable[[], Inputs],
        changed: Callable[[], None],
        events: Events = file_events,
    ) -> None:
        self.mode: Mode = "auto"
        self.quiet = 0.1
        self.poll_interval = 5.0
        self.up = False
        self._find = find
        self._changed = changed
        self._events = events
        self._inputs, self._seen = self._take()
        self._watched: dict[Path, int] = {}
        self._feed: asyncio.Task[None] | None = None
        self._stirred = asyncio.Event()
        self._trouble = ""

    def set(self, mode: Mode, quiet: float, poll_interval: float) -> None:
        """Watch in this way from now on; the times are seconds."""
        self.mode, self.quiet, self.poll_interval = mode, quiet, poll_interval
        self._stirred.set()

    async def run(self) -> None:
        """Watch until cancelled. Whatever goes wrong is told, and tried again."""
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    await self._step(group)
                except Exception:
                    log.exception("a fault in the gateway itself: the files cannot be looked at")
                    await asyncio.sleep(RETRY)

    async def _step(self, group: asyncio.TaskGroup) -> None:
        """Have the right folders watched, look, and wait for the next reason to look."""
        ground = await asyncio.to_thread(self._ground)
        if ground != self._watched or (self._feed and self._feed.done()):
            if self._feed:
                self._feed.cancel()
            self._watched, self.up = ground, bool(ground)
            self._feed = group.create_task(self._take_events(ground)) if ground else None
            await asyncio.sleep(0)  # sets the watches
        # Looked at after the watches are set, or a change in between would go unnoticed.
        await self.look()
        if await asyncio.to_thread(self._ground) == ground:
            await self._stir()

    async def look(self) -> None:
        """Call `changed` if the inputs differ from those seen last, once they stay as they are."""
        if self.mode == "off":
            return
        now = await asyncio.to_thread(signature, self._inputs)
        if now == self._seen:
            return
        while True:
            former = now
            await asyncio.sleep(self.quiet)
            self._inputs, now = await asyncio.to_thread(self._take)
            if now == former:
                break
        if now != self._seen:
            self._seen = now
            self._changed()

    def _take(self) -> tuple[Inputs, str]:
        inputs = self._find()
        return inputs, signature(inputs)

    async def _stir(self) -> None:
        """Wait for a file event or the next poll."""
        trusted = self.mode == "events" and self.up
        with suppress(TimeoutError):
            async with asyncio.timeout(RARELY if trusted else self.poll_interval):
                await self._stirred.wait()
        self._stirred.clear()

    async def _take_events(self, folders: Collection[Path]) -> None:
        """Stir on every event, until they end; when that is a failure, not at once."""
        try:
            async for _ in self._events(folders):
                self._stirred.set()
                self._trouble = ""
        except Exception as error:  # whatever it died of, it is replaced
            self.up = False
            if str(error) != self._trouble:
                self._trouble = str(error)
                log.warning("no file events: %s", _advice(self._trouble))
            await asyncio.sleep(RETRY)
        self._stirred.set()

    def _ground(self) -> dict[Path, int]:
        """What to watch, and the very folders these are now, for a rename replaces them."""
        if self.mode not in ("auto", "events"):
            return {}
        return {folder: _inode(folder) for folder in grounds(self._inputs)}


def _inode(path: Path) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


def _advice(trouble: str) -> str:
    if "limit" in trouble.lower() or "os error 24" in trouble or "os error 28" in trouble:
        limits = "fs.inotify.max_user_watches and fs.inotify.max_user_instances"
        return f"{trouble}; raise {limits}. Until then the files are looked at every poll_interval"
    return trouble
