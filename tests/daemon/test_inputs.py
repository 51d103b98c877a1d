"""What a gateway is made from, also where it cannot be made from it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.config.files import FileReader
from gateway.daemon.watcher import watch_folders
from gateway.snapshot import Inputs, take_snapshot

GOOD = "namespaces: {/: {}}\n"


def inputs_of(file: Path) -> Inputs:
    return take_snapshot(file, {}).inputs


def test_files_that_are_named_count_whether_they_are_there_or_not(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(
        "include: [more.yaml, conf.d/*.yaml]\nplugins: [plugins, other]\n"
        "server: {tls: {cert: tls/cert.pem, key: tls/key.pem}}\n"
    )
    (tmp_path / "more.yaml").write_text(GOOD + "include: deep/deeper.yaml")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/deeper.yaml").write_text("")
    inputs = inputs_of(file)
    assert set(inputs.record.files) == {
        tmp_path / name
        for name in ("gateway.yaml", "more.yaml", "deep/deeper.yaml", "tls/cert.pem", "tls/key.pem")
    }
    assert inputs.record.globs == {(tmp_path, "conf.d/*.yaml"): ()}
    assert inputs.folders == (tmp_path / "plugins", tmp_path / "other")


@pytest.mark.parametrize("text", ["include: [gone.yaml, '*.yml']\nnamespaces: 7", "include: {"])
def test_broken_file_names_what_it_still_tells(tmp_path: Path, text: str) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(text)
    inputs = inputs_of(file)
    names_more = "gone" in text
    assert set(inputs.record.files) == {file, *([tmp_path / "gone.yaml"] if names_more else ())}
    assert set(inputs.record.globs) == ({(tmp_path, "*.yml")} if names_more else set())
    assert inputs.folders == ()


def test_missing_file_is_its_own_only_input(tmp_path: Path) -> None:
    inputs = inputs_of(tmp_path / "gateway.yaml")
    assert inputs.record.files == {tmp_path / "gateway.yaml": ""}
    assert inputs.again() == inputs


def write(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (lambda top: write(top / "gateway.yaml", GOOD), True),
        (lambda top: (top / "gateway.yaml").unlink(), True),
        (lambda top: write(top / "conf.d/a.yaml", "services: {}"), True),
        (lambda top: (top / "conf.d/a.yaml").unlink(), True),
        (lambda top: write(top / "conf.d/b.yaml"), True),
        (lambda top: (top / "conf.d/a.yaml").rename(top / "conf.d/c.yaml"), True),
        (lambda top: write(top / "plugins/chat.py", "x = 2"), True),
        (lambda top: write(top / "plugins/sub/deep.py", ""), True),
        (lambda top: (top / "plugins").rename(top / "away"), True),
        (lambda top: os.utime(top / "plugins/chat.py", (1, 1)), False),
        (lambda top: (top / "gateway.yaml").chmod(0o600), False),
        (lambda top: write(top / "conf.d/notes.txt"), False),
        (lambda top: write(top / "other.yaml"), False),
        (lambda top: write(top / "plugins/chat.py~"), False),
        (lambda top: write(top / "plugins/.chat.py.swp"), False),
        (lambda top: write(top / "plugins/__pycache__/chat.pyc"), False),
        (lambda top: os.mkfifo(top / "conf.d/pipe.yaml"), False),
    ],
)
def test_inputs_change_with_names_and_contents_only(
    tmp_path: Path, change: Callable[[Path], None], counts: bool
) -> None:
    write(tmp_path / "gateway.yaml", GOOD + "include: conf.d/*.yaml\n")
    write(tmp_path / "conf.d/a.yaml", "")
    write(tmp_path / "plugins/chat.py", "x = 1")
    inputs = inputs_of(tmp_path / "gateway.yaml")
    assert inputs.again() == inputs
    change(tmp_path)
    assert (inputs.again() != inputs) is counts


def test_links_that_lead_in_circles_end(tmp_path: Path) -> None:
    write(tmp_path / "gateway.yaml", GOOD)
    write(tmp_path / "plugins/chat.py")
    for name in ("one", "two"):
        (tmp_path / "plugins" / name).symlink_to(tmp_path / "plugins")
    inputs = inputs_of(tmp_path / "gateway.yaml")
    assert inputs.again() == inputs
    assert watch_folders(inputs) == [tmp_path, tmp_path / "plugins"]


def test_folders_are_watched_never_files(tmp_path: Path) -> None:
    top = tmp_path / "with[1]"
    write(top / "gateway.yaml", GOOD + "include: [conf.d/*.yaml, many/**/x.yaml]\n")
    for folder in ("conf.d", "many/deep", "plugins/sub/deep", "plugins/__pycache__", "real"):
        (top / folder).mkdir(parents=True)
    write(top / "many/deep/x.yaml", "")
    write(top / "real/a.yaml", "")
    (top / "conf.d/a.yaml").symlink_to(top / "real/a.yaml")
    (top / "plugins/sub/back").symlink_to(top / "plugins")
    names = ["conf.d", "many", "many/deep", "plugins", "plugins/sub", "plugins/sub/deep", "real"]
    found = watch_folders(inputs_of(top / "gateway.yaml"))
    assert found == [top, *(top / name for name in names)]


def test_nearest_folder_is_watched_for_one_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path / "gateway.yaml", GOOD + "include: a/b/*.yaml\nplugins: c/d/plugins\n")
    (tmp_path / "c").mkdir()
    assert watch_folders(inputs_of(tmp_path / "gateway.yaml")) == [tmp_path, tmp_path / "c"]


def test_what_is_read_twice_is_read_once(tmp_path: Path) -> None:
    """However the file changes meanwhile, a load sees one content of it."""
    write(tmp_path / "secret", "one")
    reader = FileReader()
    assert reader.read(tmp_path / "secret") == b"one"
    write(tmp_path / "secret", "two")
    assert reader.read(tmp_path / "secret") == b"one"
    assert reader.record != reader.record.again()


def test_file_that_was_missing_stays_missing_for_a_load(tmp_path: Path) -> None:
    reader = FileReader()
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            reader.read(tmp_path / "late")
        write(tmp_path / "late", "here")
    assert reader.record.files == {tmp_path / "late": ""}
    assert reader.record != reader.record.again()


def test_pipe_is_read_and_never_watched(tmp_path: Path) -> None:
    """As of `sockgw check <(...)`: opening it again would wait for its other end."""
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"once",))
    writer.start()
    reader = FileReader()
    assert reader.read(tmp_path / "pipe") == b"once"
    writer.join()
    assert reader.record.again() == reader.record
