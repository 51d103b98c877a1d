"""The watcher: notices that files may have changed. The only importer of watchfiles.

An event is only ever a reason to look: what counts is whether the signature of the inputs differs
from the one seen last. A safety poll looks without an event, so a lost one costs at most its
interval.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from watchfiles import awatch
from watchfiles._rust_notify import WatchfilesRustInternalError

__all__ = ["Inputs", "Mode", "Watcher", "plugin_files", "signature"]

log = logging.getLogger("sockgw.reload")

Mode = Literal["auto", "events", "poll", "off"]

STEP = 50
"""Milliseconds the file system is given to deliver what belongs together."""

RETRY = 5.0
"""Seconds until file events that ended are tried again."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a gateway is made from: the files that were read and the plugin folders."""

    files: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()


def signature(inputs: Inputs) -> str:
    """A digest of the inputs as they are now: names and contents, whatever the time stamps say.

    The YAML files beside those that were read count by name, for an `include` may take in a new
    one. What cannot be read counts as absent.
    """
    digest = hashlib.sha256()
    for path in (*inputs.files, *plugin_files(inputs.folders)):
        with suppress(OSError):
            content = path.read_bytes()
            digest.update(f"{path}\0{len(content)}\0".encode() + content)
    for folder in sorted({path.parent for path in inputs.files}):
        with suppress(OSError):
            names = (entry.name for entry in os.scandir(folder))
            digest.update(repr(sorted(n for n in names if n.endswith((".yaml", ".yml")))).encode())
    return digest.hexdigest()


class Watcher:
    """Calls `changed` when the inputs have changed and then been quiet for `quiet` seconds.

    `inputs` and the settings may be set to others at any time. `up` tells whether file events
    arrive; without them the safety poll, every `poll_interval` seconds, is all there is.
    """

    def __init__(self, inputs: Inputs, changed: Callable[[], None]) -> None:
        self.inputs = inputs
        self.mode: Mode = "auto"
        self.quiet = 0.1
        self.poll_interval = 5.0
        self.up = False
        self._changed = changed
        self._seen = signature(inputs)
        self._stirred = asyncio.Event()

    async def run(self) -> None:
        """Watch until cancelled; file events that end are replaced."""
        while True:
            ended: BaseException | None = None
            try:
                await self._with_events()
            except* (OSError, WatchfilesRustInternalError) as errors:
                ended = errors.exceptions[0]
            if ended is not None:
                log.warning("no file events, looking every %g s: %s", RETRY, _advice(ended))
                await asyncio.sleep(RETRY)

    async def _with_events(self) -> None:
        """Observe until the folders are others than those watched, or file events end."""
        ground = self._ground()
        try:
            async with asyncio.TaskGroup() as group:
                feeds = [
                    group.create_task(self._feed(paths, deep))
                    for paths, deep in self._watched()
                    if paths and self.mode in ("auto", "events")
                ]
                await asyncio.sleep(0)  # sets the watches
                self.up = bool(feeds)
                # Looked at after the watches are set, or a change in between would go unnoticed.
                while True:
                    await self._look()
                    if self._ground() != ground:
                        break
                    await self._stir()
                for feed in feeds:
                    feed.cancel()
        finally:
            self.up = False

    async def _stir(self) -> None:
        """Wait for a file event or the next poll."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.poll_interval):
                await self._stirred.wait()
        self._stirred.clear()

    async def _look(self) -> None:
        """Call `changed` if the inputs differ from those seen last, once they stay as they are."""
        if self.mode == "off":
            return
        now = await asyncio.to_thread(signature, self.inputs)
        if now == self._seen:
            return
        await asyncio.sleep(self.quiet)
        while (later := await asyncio.to_thread(signature, self.inputs)) != now:
            now = later
            await asyncio.sleep(self.quiet)
        self._seen = now
        self._changed()

    async def _feed(self, paths: Iterable[Path], deep: bool) -> None:
        async for _ in awatch(*paths, recursive=deep, step=STEP, debounce=STEP, watch_filter=None):
            self._stirred.set()
        raise OSError("the watch ended")

    def _watched(self) -> tuple[tuple[list[Path], bool], ...]:
        """The folders of the files, which are to be watched flat, and those to be watched whole.

        Never a file: saving by rename ends the watch on a file.
        """
        flat = {path.parent for path in (*self.inputs.files, *self.inputs.folders)}
        return (
            ([path for path in sorted(flat) if path.is_dir()], False),
            ([path for path in self.inputs.folders if path.is_dir()], True),
        )

    def _ground(self) -> object:
        """What the watches are tied to: the very folders, which a rename replaces."""
        return (
            self.mode,
            [(path, path.stat().st_ino) for paths, _ in self._watched() for path in paths],
        )


def plugin_files(folders: Iterable[Path]) -> Iterator[Path]:
    """Every Python file in and below the plugin folders."""
    for folder in folders:
        for root, subfolders, files in os.walk(folder, followlinks=True):
            subfolders[:] = sorted(n for n in subfolders if n != "__pycache__" and n[0] != ".")
            yield from (Path(root, name) for name in sorted(files) if name.endswith(".py"))


def _advice(error: BaseException) -> str:
    text = str(error)
    if "limit" in text.lower() or getattr(error, "errno", None) == 28:
        return f"{text}; raise fs.inotify.max_user_watches and fs.inotify.max_user_instances"
    return text
