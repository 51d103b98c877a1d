from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.loader.sources import folder_fault, read_sources


def write(root: Path, *names: str, text: str = "") -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "plugins"
    path.mkdir()
    return path


def problems(root: Path) -> list[str]:
    return [str(each).replace(f"{root}/", "") for each in read_sources([root]).problems]


def test_files_are_known_by_their_full_module_name(root: Path) -> None:
    write(root, "chat.py", "rooms/__init__.py", "rooms/lobby.py", "_helper.py")
    sources = read_sources([root])
    assert list(sources.files) == [
        "plugins",
        "plugins._helper",
        "plugins.chat",
        "plugins.rooms",
        "plugins.rooms.lobby",
    ]
    assert sources.files["plugins.rooms.lobby"].path == str(root / "rooms" / "lobby.py")
    assert sources.packages == ("plugins",)


def test_folder_without_init_is_a_package_with_an_empty_one(root: Path) -> None:
    write(root, "rooms/old/lobby.py", text="x = 1")
    files = read_sources([root]).files
    for name in "plugins", "plugins.rooms", "plugins.rooms.old":
        assert files[name].is_package
        assert files[name].data == b""


def test_folder_without_python_files_is_no_package(root: Path) -> None:
    write(root, "templates/page.html", "chat.py", "chat/lines.txt")
    sources = read_sources([root])
    assert list(sources.files) == ["plugins", "plugins.chat"]
    assert sources.problems == ()


def test_hidden_files_are_not_read(root: Path) -> None:
    write(root, ".#chat.py", ".git/hook.py", "__pycache__/chat.pyc", "chat.py~")
    assert list(read_sources([root]).files) == ["plugins"]


def test_underscore_hides_a_file_from_the_configuration_only(root: Path) -> None:
    write(root, "_a.py", "_b/c.py", "d/_e.py", "d/f.py")
    files = read_sources([root]).files
    assert [name for name, source in files.items() if source.is_plugin] == [
        "plugins",
        "plugins.d",
        "plugins.d.f",
    ]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (
            "my-plugin.py",
            "my-plugin.py:1:1: rename it: Python cannot import a module named 'my-plugin'",
        ),
        ("class.py", "class.py:1:1: rename it: Python cannot import a module named 'class'"),
        ("1st.py", "1st.py:1:1: rename it: Python cannot import a module named '1st'"),
        ("a.b.py", "a.b.py:1:1: rename it: Python cannot import a module named 'a.b'"),
        ("my-dir/x/y.py", "my-dir:1:1: rename it: Python cannot import a module named 'my-dir'"),
    ],
)
def test_name_that_python_cannot_import_is_a_problem(root: Path, file: str, expected: str) -> None:
    write(root, file)
    assert problems(root) == [expected]


def test_names_below_an_underscore_may_be_anything(root: Path) -> None:
    write(root, "_my-notes.py", "_my-dir/x.py", "static-files/page.html")
    assert problems(root) == []


def test_file_and_folder_of_one_name_are_a_problem(root: Path) -> None:
    write(root, "chat.py", "chat/lines.py")
    assert problems(root) == [
        "chat.py:1:1: both chat.py and the folder chat are plugins.chat; rename one"
    ]
    assert read_sources([root]).broken == {"plugins.chat"}


def test_link_to_nothing_is_a_problem(root: Path) -> None:
    (root / "gone.py").symlink_to(root / "nowhere.py")
    (root / "ring.py").symlink_to(root / "ring.py")
    assert problems(root) == [
        "gone.py:1:1: cannot read: not a file, or a link to none",
        "ring.py:1:1: cannot read: not a file, or a link to none",
    ]


def test_pipe_is_not_waited_for(root: Path) -> None:
    os.mkfifo(root / "pipe.py")
    assert problems(root) == ["pipe.py:1:1: cannot read: not a file, or a link to none"]


def test_a_file_that_is_too_large_is_a_problem(root: Path) -> None:
    (root / "large.py").write_text("")
    os.truncate(root / "large.py", 10**12)  # a hole, which takes no room on the disk
    assert problems(root) == ["large.py:1:1: cannot read: larger than 4 MB"]
    os.truncate(root / "large.py", 4_000_000)
    assert problems(root) == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that cannot be read")
def test_unreadable_file_is_a_problem(root: Path) -> None:
    (root / "memory.py").symlink_to("/proc/self/mem")
    assert problems(root) == ["memory.py:1:1: cannot read: Input/output error"]
    assert read_sources([root]).broken == {"plugins.memory"}


def test_link_to_a_folder_above_is_a_problem(root: Path) -> None:
    write(root, "rooms/lobby.py")
    (root / "rooms" / "up").symlink_to(root)
    assert problems(root) == ["rooms/up:1:1: this link leads back to a folder it is in; remove it"]


def test_link_to_another_folder_is_followed(root: Path, tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere", "lobby.py")
    (root / "rooms").symlink_to(elsewhere)
    assert "plugins.rooms.lobby" in read_sources([root]).files


def test_digest_is_that_of_the_content(tmp_path: Path) -> None:
    here, there = (
        write(tmp_path / side / "plugins", "chat.py", "rooms/lobby.py", text="x = 1")
        for side in ("here", "there")
    )
    digest = read_sources([here]).digest
    assert read_sources([there]).digest == digest
    write(there, "rooms/__init__.py")
    assert read_sources([there]).digest == digest, "as if there had been an empty one"
    write(there, "rooms/lobby.py", text="x = 2")
    assert read_sources([there]).digest != digest


def test_digest_differs_when_a_file_moves_or_a_folder_goes(root: Path) -> None:
    write(root, "chat.py")
    digests = {read_sources([root]).digest}
    (root / "chat.py").rename(root / "talk.py")
    digests.add(read_sources([root]).digest)
    (root / "talk.py").rename(root / "my-talk.py")
    digests.add(read_sources([root]).digest)
    (root / "my-talk.py").unlink()
    digests.add(read_sources([root]).digest)
    root.rmdir()
    digests.add(read_sources([root]).digest)
    assert len(digests) == 5


def test_missing_folder_is_a_fault_and_the_others_are_read(root: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    sources = read_sources([missing, write(root, "chat.py")])
    assert sources.faults == {missing: f"there is no folder {missing}"}
    assert "plugins.chat" in sources.files


def test_two_folders_of_one_name_are_a_fault(tmp_path: Path) -> None:
    one, two = (write(tmp_path / side / "plugins", "chat.py") for side in ("one", "two"))
    expected = f"two plugin folders are named 'plugins': {one} and {two}; rename one"
    assert read_sources([one, two]).faults == {two: expected}


def test_folder_listed_twice_is_a_fault(root: Path) -> None:
    assert read_sources([root, root]).faults == {root: f"the folder {root} is listed twice"}


def test_relative_folder_is_taken_from_the_current_one(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root, "chat.py")
    monkeypatch.chdir(root)
    sources = read_sources([Path()])
    assert sources.files["plugins.chat"].path == str(root / "chat.py")


def test_file_is_no_plugin_folder(root: Path) -> None:
    path = write(root, "chat.py") / "chat.py"
    assert folder_fault(path) == f"{path} is not a folder"


@pytest.mark.parametrize("name", ["my-plugins", "class", "v1.2"])
def test_folder_name_must_be_one_that_python_imports(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    expected = f"Python cannot import a package named {name!r}; rename the folder"
    assert folder_fault(tmp_path / name) == expected


def test_folder_must_not_hide_a_module(tmp_path: Path) -> None:
    (tmp_path / "json").mkdir()
    import json

    expected = f"Python already has a module 'json' ({json.__file__}); rename the folder"
    assert folder_fault(tmp_path / "json") == expected


@pytest.mark.parametrize("name", ["gateway", "sys", "__main__"])
def test_folder_must_not_hide_a_loaded_module(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert (folder_fault(tmp_path / name) or "").startswith(
        f"Python already has a module {name!r} ("
    )


def test_folder_on_pythons_own_path_is_no_clash(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(root.parent)
    assert folder_fault(root) is None
    write(root, "__init__.py")
    assert folder_fault(root) is None


def test_unreadable_folder_is_a_fault() -> None:
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        root = Path(parent, "plugins")
        root.mkdir(mode=0)
        with as_nobody():
            assert folder_fault(root) == f"cannot read the folder {root}: Permission denied"
        root.chmod(0o700)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything, so where the tests run as root they are somebody else here."""
    before = os.geteuid()
    os.seteuid(65534 if before == 0 else before)
    try:
        yield
    finally:
        os.seteuid(before)
