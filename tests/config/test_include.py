"""Many files, one document."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.config.include import Document, read
from gateway.errors import Place


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, text: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)


def document(text: str) -> Document:
    write("gateway.yaml", text)
    return read(Path("gateway.yaml"), {"FOLDER": "conf.d"})


def test_a_document_is_data_and_the_places_of_keys_and_values() -> None:
    found = document("server:\n  port: 7001\nplugins:\n- a\n- b\n")
    assert found.problems == ()
    assert found.data == {"server": {"port": 7001}, "plugins": ["a", "b"]}
    assert found.keys == {
        ("server",): Place("gateway.yaml", 1, 1),
        ("server", "port"): Place("gateway.yaml", 2, 3),
        ("plugins",): Place("gateway.yaml", 3, 1),
    }
    assert found.values == {
        (): Place("gateway.yaml", 1, 1),
        ("server",): Place("gateway.yaml", 2, 3),
        ("server", "port"): Place("gateway.yaml", 2, 9),
        ("plugins",): Place("gateway.yaml", 4, 1),
        ("plugins", 0): Place("gateway.yaml", 4, 3),
        ("plugins", 1): Place("gateway.yaml", 5, 3),
    }


def test_a_value_keeps_the_place_it_has_in_its_file() -> None:
    write("a.yaml", "# first\nserver: {port: 7001}\n")
    found = document("server: {host: localhost}\ninclude: a.yaml\n")
    assert found.at("server", "port").place == Place("a.yaml", 2, 16)
    assert found.key_at("server", "port").place == Place("a.yaml", 2, 10)
    assert found.key_at("server").place == Place("gateway.yaml", 1, 1)


def test_a_glob_takes_files_by_name_and_no_folders() -> None:
    for name in ("b", "a", "10", "9"):
        write(f"conf.d/{name}.yaml", "")
    write("conf.d/folder.yaml/x.yaml", "")
    write("conf.d/.hidden.yaml", "")
    found = document("include: conf.d/*.yaml\n")
    assert [file.stem for file in found.files] == ["gateway", "10", "9", "a", "b"]


def test_a_double_star_looks_into_folders() -> None:
    write("conf.d/a.yaml", "")
    write("conf.d/deep/er/b.yaml", "")
    found = document("include: conf.d/**/*.yaml\n")
    assert [file.stem for file in found.files] == ["gateway", "a", "b"]


def test_a_name_may_be_absolute_and_hold_variables(tmp_path: Path) -> None:
    write("conf.d/a.yaml", "")
    write("conf.d/b.yaml", "")
    found = document(f"include: ['${{FOLDER}}/a.yaml', '{tmp_path}/conf.d/b.yaml']\n")
    assert tuple(found.files)[1:] == (Path("conf.d/a.yaml"), tmp_path / "conf.d/b.yaml")


def test_includes_may_go_as_deep_as_there_are_files() -> None:
    for number in range(1100):
        write(f"{number}.yaml", f"include: {number + 1}.yaml\n")
    write("1100.yaml", "plugins: here\n")
    found = document("include: 0.yaml\n")
    assert found.problems == ()
    assert found.data == {"plugins": "here"}


def test_a_link_is_the_file_it_leads_to() -> None:
    write("a.yaml", "")
    Path("b.yaml").symlink_to("a.yaml")
    [problem] = document("include: [a.yaml, b.yaml]\n").problems
    assert str(problem) == (
        "gateway.yaml:1:19: include[1]: 'b.yaml' is included twice, first at gateway.yaml:1:11"
    )


def test_what_can_be_read_is_read_beside_what_cannot() -> None:
    write("good.yaml", "plugins: here\n")
    write("bad.yaml", "plugins: [\n")
    found = document("include: [bad.yaml, missing.yaml, good.yaml]\n")
    assert found.data == {"plugins": "here"}
    assert [*found.files] == [Path("gateway.yaml"), Path("bad.yaml"), Path("good.yaml")]
    assert [str(problem) for problem in found.problems] == [
        "bad.yaml:2:1: the file ends too early",
        "gateway.yaml:1:21: include[1]: cannot read 'missing.yaml': no such file or directory",
    ]


@pytest.mark.parametrize("pattern", ["conf.d/*.yaml", "conf.d/**/*.yaml", "*/a.yaml"])
def test_a_link_that_leads_nowhere_is_a_problem_and_no_empty_file(pattern: str) -> None:
    write("conf.d/b.yaml", "")
    Path("conf.d/a.yaml").symlink_to("gone.yaml")
    found = document(f"include: '{pattern}'\n")
    assert [str(problem) for problem in found.problems] == [
        "gateway.yaml:1:10: include: cannot read 'conf.d/a.yaml': no such file or directory"
    ]


@pytest.mark.parametrize("pattern", ["conf.d/*.yaml", "conf.d/*/x.yaml", "conf.d/**/*.yaml"])
def test_a_folder_that_cannot_be_listed_is_a_problem_and_not_empty(pattern: str) -> None:
    write("conf.d", "not a folder")
    found = document(f"include: '{pattern}'\n")
    assert [str(problem) for problem in found.problems] == [
        "gateway.yaml:1:10: include: cannot list 'conf.d': not a directory"
    ]


def test_a_folder_that_is_not_there_has_no_files() -> None:
    assert document("include: conf.d/*.yaml\n").problems == ()


def test_a_look_again_finds_a_folder_that_cannot_be_listed_any_more() -> None:
    write("conf.d/a.yaml", "")
    found = document("include: conf.d/*.yaml\n")
    assert found.record.again() == found.record
    Path("conf.d/a.yaml").unlink()
    Path("conf.d").rmdir()
    write("conf.d", "not a folder")
    assert found.record.again() != found.record


def test_files_without_an_end_are_read_no_further_than_the_bound() -> None:
    [problem] = read(Path("/dev/zero"), {}).problems
    assert str(problem) == "/dev/zero:1:1: cannot read '/dev/zero': larger than 4 MB"
    os.mkfifo("pipe")
    write("large.yaml", "")
    os.truncate("large.yaml", 10**12)  # a hole, which takes no room on the disk
    found = document("include: [/dev/zero, pipe, large.yaml]\n")
    assert [str(problem) for problem in found.problems] == [
        "gateway.yaml:1:11: include[0]: cannot read '/dev/zero': not a file",
        "gateway.yaml:1:22: include[1]: cannot read 'pipe': not a file",
        "gateway.yaml:1:28: include[2]: cannot read 'large.yaml': larger than 4 MB",
    ]
    assert found.record.again() == found.record
    os.truncate("large.yaml", 10**12 + 1)
    assert found.record.again() != found.record
