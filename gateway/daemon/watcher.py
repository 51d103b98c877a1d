"""The watcher: notices that files have changed. The only importer of watchfiles.

A file event is only a reason to look. A look reads the files and compares them with what was read
last, so nothing is missed and nothing is reloaded for a mere time stamp. A safety poll looks
without an event, so a lost event costs at most its interval.
"""

from __future__ import annotations

import asyncio
import glob
import logging
import os
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import suppress
from itertools import islice, takewhile
from pathlib import Path
from typing import Literal, Protocol

from watchfiles import Change, awatch

from gateway.snapshot import Inputs

__all__ = ["Events", "Mode", "Watcher", "watch_folders"]

log = logging.getLogger("sockgw.reload")

Mode = Literal["auto", "events", "poll", "off"]

STEP = 40
"""Milliseconds in which file events that belong together are collected; each batch is a wake-up."""

MOST_FOLDERS = 1_000
"""Folders of one page folder that are watched; the safety poll looks into further ones."""

MOST_PAGES = 10_000
"""Entries of one page folder whose time stamps tell whether it is quiet."""

RETRY = 5.0
"""Seconds until file events that ended are tried again."""

RARELY = 60.0
"""Seconds between two looks where file events are trusted."""


class Events(Protocol):
    """A source of file events: an item for every change in the folders, not below them.

    Ends when one of the folders is gone: the folder that takes its place is another one.
    """

    def __call__(self, folders: Collection[Path]) -> AsyncIterator[object]: ...


async def file_events(folders: Collection[Path]) -> AsyncIterator[object]:
    """Yield the file system's events, by watchfiles. Raises what watching raises."""
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
    """Calls `changed` when the inputs have changed and their files been quiet for `quiet` seconds.

    `inputs` are what the gateway was loaded from. `up` is true while file events arrive; without
    them there is only the safety poll, every `poll_interval` seconds.
    """

    def __init__(
        self, inputs: Inputs, changed: Callable[[], None], events: Events = file_events
    ) -> None:
        self.mode: Mode = "auto"
        self.quiet = 0.1
        self.poll_interval = 5.0
        self.up = False
        self._inputs = inputs
        self._changed = changed
        self._events = events
        self._watched: dict[Path, int] = {}
        self._feed: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._is_look_due = True
        self._trouble = ""
        self._unseen = ""
        self._failed_looks = 0

    def watch(self, inputs: Inputs) -> None:
        """Compare with these from now on; they have just been read."""
        self._inputs = inputs
        self._woken.set()

    def set(self, mode: Mode, quiet: float, poll_interval: float) -> None:
        """Watch in this way from now on; the times are seconds."""
        former = self.mode, self.quiet, self.poll_interval
        self.mode, self.quiet, self.poll_interval = mode, quiet, poll_interval
        if former != (mode, quiet, poll_interval):
            self._wake()

    async def run(self) -> None:
        """Watch until cancelled. Failures are logged, and it tries again."""
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    await self._step(group)
                    continue
                except OSError as error:  # no descriptor is left, or the disk fails
                    self._tell(error)
                except Exception:
                    log.exception("a fault in the gateway itself: the files cannot be looked at")
                self._is_look_due = True
                await asyncio.sleep(RETRY)

    async def _step(self, group: asyncio.TaskGroup) -> None:
        """Watch the right folders, look if there is a reason to, and wait for the next reason."""
        folders = await asyncio.to_thread(self._folders)
        if folders != self._watched or (self._feed and self._feed.done()):
            if self._feed:
                self._feed.cancel()
            self._watched, self.up = folders, bool(folders)
            self._feed = group.create_task(self._follow(folders)) if folders else None
            await asyncio.sleep(0)  # sets the watches
            # A change from before the watches were set makes no event.
            self._is_look_due = True
        if self._is_look_due:
            await self.look()
        if await asyncio.to_thread(self._folders) == folders:
            await self._wait()

    async def look(self) -> None:
        """Wait until the files are quiet; call `changed` if they differ from those seen last."""
        if self.mode == "off":
            return
        stamps = await asyncio.to_thread(_stamps, self._inputs)
        while True:
            await asyncio.sleep(self.quiet)
            former, stamps = stamps, await asyncio.to_thread(_stamps, self._inputs)
            if former == stamps:
                break
        self._is_look_due = False
        inputs = self._inputs
        now = await asyncio.to_thread(inputs.again)
        self._tell(None)
        if inputs is not self._inputs:
            self._wake()  # a reload has read the files meanwhile
            return
        self._inputs = now  # knows more pages by their stamps, even if nothing has changed
        if now != inputs:
            self._changed()

    def _tell(self, error: OSError | None) -> None:
        """Log that the files cannot be looked at, once for each reason; `None` means they can."""
        reason = f"{error.filename}: cannot look at it: {error.strerror}" if error else ""
        if error and reason != self._unseen:
            log.error("%s; what is served stays", reason)
        elif self._unseen and not error:
            log.info("the files can be looked at again (failed looks: %d)", self._failed_looks)
        self._failed_looks = self._failed_looks + 1 if error else 0
        self._unseen = reason

    def _wake(self) -> None:
        self._is_look_due = True
        self._woken.set()

    async def _wait(self) -> None:
        """Wait for a file event, the next poll or new inputs."""
        trusted = self.mode == "events" and self.up
        try:
            async with asyncio.timeout(RARELY if trusted else self.poll_interval):
                await self._woken.wait()
        except TimeoutError:
            self._is_look_due = True
        self._woken.clear()

    async def _follow(self, folders: Collection[Path]) -> None:
        """Look on every event until events end; after a failure, wait before they are replaced."""
        try:
            async for _ in self._events(folders):
                self._wake()
                self._trouble = ""
        except Exception as error:  # whatever it died of, it is replaced
            self.up = False
            if str(error) != self._trouble:
                self._trouble = str(error)
                log.warning("no file events: %s", _advice(self._trouble))
            await asyncio.sleep(RETRY)
        self._wake()

    def _folders(self) -> dict[Path, int]:
        """The folders to watch with their inode numbers, because a rename replaces a folder."""
        if self.mode not in ("auto", "events"):
            return {}
        return {folder: _inode(folder) for folder in watch_folders(self._inputs)}


def watch_folders(inputs: Inputs) -> list[Path]:
    """List the folders in which a change may concern the inputs, each without those below it.

    Never a file: saving by rename ends the watch on a file. Where a name leads through links, the
    folders on both sides count; for a folder that is not there, the nearest one above.
    """
    pages = inputs.page_folders.by_path.values()
    found = {_nearest(folder.parent) for folder in (*inputs.folders, *pages)}
    found |= {_nearest(path.parent) for path in inputs.record.files}
    for folder, pattern in inputs.record.globs:
        parts = takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts[:-1])
        found.add(_nearest(folder.joinpath(*parts)))
    for path in inputs.record.present():
        found |= {path.parent, Path(os.path.realpath(path)).parent}
    for folder in inputs.folders:
        found.update(_below(folder, set()))
    for folder in pages:
        found.update(islice(_below(folder, set()), MOST_FOLDERS))
    return sorted(found)


def _nearest(folder: Path) -> Path:
    return next((each for each in (folder, *folder.parents) if os.path.isdir(each)), folder)


def _below(folder: Path, seen: set[str]) -> Iterator[Path]:
    """A folder of plugins or pages and those in it; links may lead back."""
    real = os.path.realpath(folder)
    if real in seen or not os.path.isdir(folder):
        return
    seen.add(real)
    yield folder
    names: list[str] = []
    with suppress(OSError), os.scandir(folder) as entries:
        names += (entry.name for entry in entries if entry.is_dir())
    for name in names:
        if name != "__pycache__" and not name.startswith("."):
            yield from _below(folder / name, seen)


def _stamps(inputs: Inputs) -> list[tuple[str, int, int, int]]:
    """Return time stamps and sizes, which change while files are being written.

    They only tell when the files are quiet; whether they differ is decided by content.
    """
    paths = set(inputs.record.present())
    for root in inputs.folders:
        for folder in _below(root, set()):
            paths.update(folder.glob("*.py"))
    for root in inputs.page_folders.by_path.values():
        entries = (path for folder in _below(root, set()) for path in folder.glob("*"))
        paths.update(islice(entries, MOST_PAGES))
    stamps = []
    for path in sorted(paths):
        with suppress(OSError):
            found = path.stat()
            stamps.append((str(path), found.st_ino, found.st_size, found.st_mtime_ns))
    return stamps


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
