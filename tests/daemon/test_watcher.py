"""The watcher: it looks when it should, tells of content only, and cannot be killed."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.daemon import watcher as module
from gateway.daemon.watcher import Mode, Watcher, file_events
from gateway.snapshot import Inputs, take_snapshot
from tests.deadline import deadline


class Fed:
    """A watcher whose file events the test makes; `failing` is what watching raises instead."""

    def __init__(self, top: Path, events: module.Events | None = None) -> None:
        self.changes: asyncio.Queue[None] = asyncio.Queue()
        self.watched: asyncio.Queue[list[Path]] = asyncio.Queue()
        self.failing: Exception | None = None
        self.looks: asyncio.Queue[None] = asyncio.Queue()
        self._feeds: list[asyncio.Queue[Exception | None]] = []
        self._top = top
        self.watcher = Watcher(self.read(), self.reload, events or self)
        self.watcher.quiet = 0.01
        self.watcher.poll_interval = 3600.0

    def read(self) -> Inputs:
        return take_snapshot(self._top / "gateway.yaml", {}).inputs

    def reload(self) -> None:
        """Read the files, as a reload does."""
        self.watcher.watch(self.read())
        self.changes.put_nowait(None)

    async def __call__(self, folders: Collection[Path]) -> AsyncIterator[object]:
        if self.failing:
            raise self.failing
        feed: asyncio.Queue[Exception | None] = asyncio.Queue()
        self._feeds.append(feed)
        self.watched.put_nowait(list(folders))
        while True:
            event = await feed.get()
            if event is not None:
                raise event
            yield event

    def event(self, failure: Exception | None = None) -> None:
        for feed in self._feeds:
            feed.put_nowait(failure)
        if failure:
            self._feeds.clear()

    async def changed(self) -> None:
        async with deadline():
            await self.changes.get()

    async def watching(self) -> list[Path]:
        async with deadline():
            return await self.watched.get()


@asynccontextmanager
async def running(fed: Fed) -> AsyncIterator[Fed]:
    task = asyncio.create_task(fed.watcher.run())
    try:
        yield fed
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "gateway.yaml").write_text("namespaces: {/: {}}\n")
    (tmp_path / "plugins").mkdir()
    return tmp_path


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY", 0.01)


def edit(top: Path, text: str) -> None:
    (top / "gateway.yaml").write_text(f"# {text}\nnamespaces: {{/: {{}}}}\n")


async def test_an_event_is_a_reason_to_look_and_the_content_decides(top: Path) -> None:
    async with running(Fed(top)) as fed:
        await fed.watching()
        (top / "gateway.yaml").touch()
        fed.event()
        edit(top, "one")
        fed.event()
        await fed.changed()
        assert fed.changes.empty()


async def test_change_between_reading_and_watching_is_seen(top: Path) -> None:
    fed = Fed(top)
    edit(top, "one")
    async with running(fed):
        await fed.changed()


async def test_change_while_the_watches_are_set_is_seen(top: Path) -> None:
    fed = Fed(top)

    async def late(folders: Collection[Path]) -> AsyncIterator[object]:
        edit(top, "just before")
        async for event in Fed.__call__(fed, folders):
            yield event

    fed.watcher._events = late
    async with running(fed):
        await fed.changed()


async def test_event_while_it_looks_leads_to_another_look(top: Path, monkeypatch) -> None:
    async with running(Fed(top)) as fed:
        await fed.watching()
        true, loop = Inputs.again, asyncio.get_running_loop()

        def edited_meanwhile(inputs: Inputs) -> Inputs:
            monkeypatch.setattr(Inputs, "again", true)
            now = true(inputs)
            edit(top, "during the look")
            loop.call_soon_threadsafe(fed.event)
            return now

        monkeypatch.setattr(Inputs, "again", edited_meanwhile)
        fed.event()
        await fed.changed()


async def test_look_that_a_reload_overtakes_tells_nothing(top: Path, monkeypatch) -> None:
    """It compares with what is no longer served; another look follows."""
    fed, true = Fed(top), Inputs.again

    def overtaken(inputs: Inputs) -> Inputs:
        now = true(inputs)
        edit(top, "reloaded meanwhile")
        fed.watcher.watch(fed.read())
        return now

    edit(top, "seen by the look")
    monkeypatch.setattr(Inputs, "again", overtaken)
    await fed.watcher.look()
    monkeypatch.setattr(Inputs, "again", true)
    await fed.watcher.look()
    assert fed.changes.empty()


async def test_files_are_told_of_when_they_have_been_quiet(top: Path, monkeypatch) -> None:
    fed, true = Fed(top), module._stamps
    edit(top, "0")
    stamps = 0

    def restless(inputs: Inputs) -> list[tuple[str, int, int, int]]:
        nonlocal stamps
        stamps += 1
        if stamps <= 3:
            edit(top, "0" * stamps)
        return true(inputs)

    monkeypatch.setattr(module, "_stamps", restless)
    await fed.watcher.look()
    assert stamps == 4
    assert fed.changes.qsize() == 1
    await fed.watcher.look()
    assert fed.changes.qsize() == 1


@pytest.mark.parametrize("mode", ["poll", "events"])
async def test_poll_sees_what_no_event_tells(top: Path, mode: Mode, monkeypatch) -> None:
    """As on network file systems, and where a single file is mounted into a container."""
    monkeypatch.setattr(module, "RARELY", 0.02)
    fed = Fed(top)
    fed.watcher.set(mode, quiet=0.01, poll_interval=0.02 if mode == "poll" else 3600.0)
    async with running(fed):
        for text in ("one", "two"):
            edit(top, text)
            await fed.changed()
        assert fed.watched.empty() is (mode == "poll")
        assert fed.watcher.up is (mode == "events")


async def test_nobody_looks_when_watching_is_off(top: Path) -> None:
    fed = Fed(top)
    fed.watcher.set("off", quiet=0.01, poll_interval=0.01)
    async with running(fed):
        edit(top, "one")
        await fed.watcher.look()
        assert fed.changes.empty()
        fed.watcher.set("auto", quiet=0.01, poll_interval=3600.0)
        await fed.changed()
        assert await fed.watching() == [top, top / "plugins"]


LIMIT = RuntimeError("Error creating recommended watcher: Too many open files (os error 24)")


async def test_without_events_it_says_so_and_polls(top: Path, caplog) -> None:
    fed = Fed(top)
    fed.failing = LIMIT
    fed.watcher.set("auto", quiet=0.01, poll_interval=0.02)
    async with running(fed):
        for text in ("one", "two"):
            edit(top, text)
            await fed.changed()
        assert not fed.watcher.up
        fed.failing = None
        fed.watcher.set("auto", quiet=0.01, poll_interval=3600.0)
        await fed.watching()
        assert fed.watcher.up
        edit(top, "three")
        fed.event()
        await fed.changed()
    [record] = caplog.records
    assert record.message == (
        f"no file events: {LIMIT}; raise fs.inotify.max_user_watches and "
        "fs.inotify.max_user_instances. Until then the files are looked at every poll_interval"
    )


@pytest.mark.parametrize("error", [OSError("lost"), RuntimeError("rust"), ValueError("odd")])
async def test_watch_that_dies_is_replaced_and_what_was_missed_is_seen(
    top: Path, error: Exception, caplog
) -> None:
    async with running(Fed(top)) as fed:
        for text in ("one", "two"):
            assert await fed.watching() == [top, top / "plugins"]
            edit(top, text)
            fed.event(error)
            await fed.changed()
    assert caplog.records[0].message == f"no file events: {error}"


async def test_fault_while_looking_is_told_and_tried_again(top: Path, caplog, monkeypatch) -> None:
    caplog.set_level(logging.INFO, "sockgw.reload")
    fed, true = Fed(top), Inputs.again
    edit(top, "one")
    failures = [OSError("input/output error"), ValueError("unforeseen")]

    def again(inputs: Inputs) -> Inputs:
        if failures:
            raise failures.pop()
        return true(inputs)

    monkeypatch.setattr(Inputs, "again", again)
    async with running(fed):
        await fed.changed()
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "INFO"]


async def test_file_named_anew_is_watched_where_it_is(top: Path) -> None:
    async with running(Fed(top)) as fed:
        assert await fed.watching() == [top, top / "plugins"]
        (top / "conf.d").mkdir()
        edit(top, "x\ninclude: conf.d/*.yaml")
        fed.event()
        await fed.changed()
        assert await fed.watching() == [top, top / "conf.d", top / "plugins"]


# The file system's own events


async def test_folder_that_is_deleted_and_made_anew_is_watched_again(top: Path) -> None:
    """A new folder may well have the number of the old one."""
    async with running(Fed(top, file_events)) as fed:
        edit(top, "seen, so the watches are set")
        await fed.changed()
        for text in ("one", "two"):
            shutil.rmtree(top)
            (top / "plugins").mkdir(parents=True)
            edit(top, text)
            await fed.changed()
        (top / "plugins/chat.py").write_text("")
        await fed.changed()


@pytest.mark.parametrize("how", ["deleted", "renamed"])
async def test_events_end_with_the_folder_they_are_of(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    events = file_events([folder])
    first = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)  # sets the watch
    if how == "deleted":
        folder.rmdir()
    else:
        folder.rename(tmp_path / "other")
    folder.mkdir()
    async with deadline():
        await first
        with pytest.raises(StopAsyncIteration):
            await anext(events)


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("moved", ["sub", "sub/top"])
async def test_folder_that_was_renamed_is_found_again_by_the_poll(
    tmp_path: Path, moved: str, at_once: bool
) -> None:
    """A folder above it as well: that makes no event at all."""
    top = tmp_path / "sub/top"
    (top / "plugins").mkdir(parents=True)
    edit(top, "")
    fed = Fed(top, file_events)
    fed.watcher.poll_interval = 0.02
    async with running(fed):
        edit(top, "seen, so the watches are set")
        await fed.changed()
        (tmp_path / moved).rename(tmp_path / "aside")
        if not at_once:
            await fed.changed()
        (top / "plugins").mkdir(parents=True)
        edit(top, "new")
        await fed.changed()
        fed.watcher.set("events", quiet=0.01, poll_interval=3600.0)
        for text in ("newer", "newest"):
            edit(top, text)
            await fed.changed()


async def test_plugin_folder_that_is_made_later_is_watched_whole(top: Path) -> None:
    (top / "plugins").rmdir()
    async with running(Fed(top, file_events)) as fed:
        folder = top / "plugins"
        edits: list[Callable[[], object]] = [
            folder.mkdir,
            lambda: (folder / "chat.py").write_text("x = 1"),
            (folder / "rooms").mkdir,
            lambda: (folder / "rooms/lobby.py").write_text("x = 1"),
            lambda: os.replace(folder / "rooms", folder / "halls"),
        ]
        for number, change in enumerate(edits):
            change()
            if number not in (0, 2):
                await fed.changed()
