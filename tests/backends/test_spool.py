"""The files of a spool: locks, what becomes of those that are left, damage, full disks."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from gateway.backends.spool import Spool
from gateway.backends.spool_file import Change, SpoolError, SpoolFile, SpoolFolder, Taken
from gateway.config import SpoolConfig
from tests.deadline import until

BOUNDS = SpoolConfig(entries=1000, bytes=1_000_000)


def change(number: int, *, is_here: bool = True) -> Change:
    lost = f'{{"id":"disconnect-{number}","time":"","reason":"gateway lost"}}'.encode()
    return Change(str(number), f'{{"id":"{number}"}}'.encode(), lost if is_here else None)


def bodies(file: SpoolFile) -> list[bytes]:
    return [body for _, body in file.read(0, 1000)]


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


async def opened(folder: Path, owner: str = "one", bounds: SpoolConfig = BOUNDS) -> Spool:
    spool = Spool("shop", SpoolFolder(folder, owner), bounds)
    await spool.open(0.0, tell=True)
    return spool


def test_a_file_is_of_one_at_a_time(tmp_path: Path) -> None:
    file = SpoolFile(tmp_path / "1.sqlite")
    with pytest.raises(Taken):
        SpoolFile(tmp_path / "1.sqlite")
    file.close()
    SpoolFile(tmp_path / "1.sqlite").delete()
    assert [*tmp_path.iterdir()] == []


def test_numbers_are_not_used_again(tmp_path: Path) -> None:
    file = SpoolFile(tmp_path / "1.sqlite")
    file.write([change(1), change(2)], 0, BOUNDS)
    file.write([change(3)], 2, BOUNDS)
    [(number, body)] = file.read(2, 10)
    assert (number, body) == (3, b'{"id":"3"}')
    file.write([], 3, BOUNDS)
    file.write([change(4)], 3, BOUNDS)
    assert [number for number, _ in file.read(3, 10)] == [4]
    file.close()


@pytest.mark.parametrize("bounds", [SpoolConfig(entries=3), SpoolConfig(bytes=32)])
def test_the_oldest_go_first(tmp_path: Path, bounds: SpoolConfig) -> None:
    file = SpoolFile(tmp_path / "1.sqlite")
    assert file.write([change(each) for each in range(5)], 0, bounds) == 2
    assert bodies(file) == [b'{"id":"2"}', b'{"id":"3"}', b'{"id":"4"}']
    assert (file.entries, file.bytes) == (3, 30)
    file.close()


def test_what_is_left_is_counted_when_it_is_opened_again(tmp_path: Path) -> None:
    file = SpoolFile(tmp_path / "1.sqlite")
    file.write([change(1), change(2, is_here=False)], 0, BOUNDS)
    file.close()
    again = SpoolFile(tmp_path / "1.sqlite")
    assert (again.entries, again.bytes, again.is_empty) == (2, 20, False)
    again.end_all(0.0, tell=True)
    lost = b'{"id":"disconnect-1","time":"1970-01-01T00:00:00.000Z","reason":"gateway lost"}'
    assert bodies(again) == [b'{"id":"1"}', b'{"id":"2"}', lost]
    again.end_all(0.0, tell=True)
    assert again.entries == 3
    again.close()


async def test_another_process_takes_what_is_left_and_ends_its_sockets(tmp_path: Path) -> None:
    one, two = await opened(tmp_path), await opened(tmp_path)
    three = SpoolFile(tmp_path / "3.sqlite")
    three.write([change(1), change(2)], 0, BOUNDS)
    two.add(change(3))
    await two.adopt(0.0, tell=True)  # the other two have theirs
    assert two.entries <= 1
    three.close()
    await two.adopt(0.0, tell=True)
    await until(lambda: two.entries == 5)
    assert names(tmp_path) == ["1.sqlite", "1.sqlite-wal", "2.sqlite", "2.sqlite-wal", "owner"]
    await one.close()
    assert await two.drop() == 5
    assert names(tmp_path) == ["owner"]


async def test_a_start_takes_the_first_file_that_is_free(tmp_path: Path) -> None:
    one, two = await opened(tmp_path), await opened(tmp_path)
    one.add(change(1))
    await one.close()
    again = await opened(tmp_path)
    assert next(body for _, body in await again.next(10)) == b'{"id":"1"}'
    assert again.entries == 2  # and its end
    await two.close()
    await again.close()


async def test_an_unused_folder_can_become_anothers(tmp_path: Path) -> None:
    one = await opened(tmp_path, "one")
    with pytest.raises(SpoolError) as told:
        await opened(tmp_path, "two")
    assert str(told.value) == f"{tmp_path} is in use by one: each backend needs its own folder"
    await one.close()
    two = await opened(tmp_path, "two")
    await two.close()
    assert (tmp_path / "owner").read_text() == "two"


async def test_a_damaged_file_is_put_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "1.sqlite").write_bytes(b"no database at all" * 1000)
    spool = await opened(tmp_path)
    spool.add(change(1))
    await until(lambda: spool.entries == 1)
    assert (tmp_path / "1.sqlite.damaged").exists()
    assert "is damaged: it is now" in caplog.text
    await spool.close()


async def test_what_the_disk_refuses_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spool = await opened(tmp_path)
    refused = asyncio.Event()
    loop = asyncio.get_running_loop()

    def full(*args: object) -> int:
        loop.call_soon_threadsafe(refused.set)
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(SpoolFile, "write", full)
        patch.setattr("gateway.backends.spool.AGAIN", 0.01)
        spool.add(change(1))
        await refused.wait()
        spool.add(change(2))
        refused.clear()
        await refused.wait()
    await until(lambda: spool.entries == 2)
    assert [body for _, body in await spool.next(10)] == [b'{"id":"1"}', b'{"id":"2"}']
    assert caplog.text.count("database or disk is full") == 1
    await spool.close()


async def test_memory_is_bounded_while_the_disk_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = await opened(tmp_path, bounds=SpoolConfig(entries=100))

    def full(*args: object) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(SpoolFile, "write", full)
        for number in range(250):
            spool.add(change(number))
        await spool.flush()
    assert spool.dropped == 150
    await spool.close()
