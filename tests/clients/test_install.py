"""What brings the clients of the table."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.clients import install as clients
from tests.clients.install import HERE, INSTALLED, install


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(clients, "HERE", tmp_path)
    monkeypatch.setattr(clients, "INSTALLED", tmp_path)
    file = tmp_path / "lock"
    file.write_text("first")
    return file


def test_installing_again_does_nothing() -> None:
    install()
    before = {file: file.stat().st_mtime_ns for file in INSTALLED.glob("*.stamp")}
    install()
    assert {file: file.stat().st_mtime_ns for file in INSTALLED.glob("*.stamp")} == before
    assert len(before) == 4


def test_a_folder_is_filled_again_when_its_lock_changes(lock: Path) -> None:
    folder, filled = lock.parent / "folder", []
    for text in ("first", "first", "second"):
        lock.write_text(text)
        clients._bring(folder, lock, lambda: filled.append(lock.read_text()))
    assert filled == ["first", "second"]


def test_a_folder_that_is_gone_is_filled_again(lock: Path) -> None:
    folder, filled = lock.parent / "folder", []
    for _ in range(2):
        clients._bring(folder, lock, lambda: filled.append(1))
        folder.rmdir()
    assert len(filled) == 2


def test_what_fails_is_tried_once_more_in_an_empty_folder(lock: Path) -> None:
    folder, found = lock.parent / "folder", []

    def fill() -> None:
        found.append(list(folder.iterdir()))
        (folder / "half").touch()
        if len(found) == 1:
            raise subprocess.CalledProcessError(1, "npm")

    clients._bring(folder, lock, fill)
    assert found == [[], []]


def test_what_fails_twice_is_an_error_and_is_tried_the_next_time(lock: Path) -> None:
    folder, tries = lock.parent / "folder", []

    def fail() -> None:
        tries.append(1)
        raise subprocess.CalledProcessError(1, "npm")

    with pytest.raises(subprocess.CalledProcessError):
        clients._bring(folder, lock, fail)
    clients._bring(folder, lock, lambda: tries.append(1))
    assert len(tries) == 3


def test_the_lock_names_no_registry() -> None:
    lock = json.loads((HERE / "package-lock.json").read_text())
    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []
