"""The door of the layer: a path and an environment in, a config or all problems out."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import load
from gateway.errors import ConfigError, Place, Problem
from tests.config.conftest import Load, Refuse

GOOD = Path(__file__).parent / "good"
CASES = sorted([*GOOD.glob("*.yaml"), *GOOD.glob("*/gateway.yaml")])


@pytest.mark.parametrize("file", CASES, ids=lambda file: str(file.relative_to(GOOD)))
def test_a_good_file_loads(file: Path, environ: Mapping[str, str]) -> None:
    config = load(file, environ)
    assert config.file == file
    assert next(iter(config.files)) == file
    assert str(config.at.place) == f"{file}:1:1"


def test_several_workers_need_linux(
    load_text: Load, refused: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    text = "server: {workers: %s}\nnamespaces: {/: {}}\n"
    [problem] = refused(text % 4)
    assert problem == (
        "gateway.yaml:1:19: server.workers: several workers need Linux: write 1, or auto, which is "
        "1 on this system"
    )
    for written in ("1", "auto"):
        assert load_text(text % written).server.workers == 1


def test_a_missing_file_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load(Path("gateway.yaml"), {})
    place = Place("gateway.yaml")
    message = "cannot read 'gateway.yaml': no such file or directory"
    assert caught.value.problems == (Problem(place, "", message),)


def test_a_folder_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("conf").mkdir()
    with pytest.raises(ConfigError) as caught:
        load(Path("conf"), {})
    assert str(caught.value) == "conf:1:1: cannot read 'conf': is a directory"


def test_a_link_to_itself_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.symlink("gateway.yaml", "gateway.yaml")
    with pytest.raises(ConfigError) as caught:
        load(Path("gateway.yaml"), {})
    message = "cannot read 'gateway.yaml': too many levels of symbolic links"
    assert str(caught.value) == f"gateway.yaml:1:1: {message}"


def test_an_empty_file_is_a_problem(refused: Refuse) -> None:
    message = "key 'namespaces' is missing; expected at least one namespace, such as {/: }"
    assert refused("") == [f"gateway.yaml:1:1: {message}"]


def test_utf_16_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gateway.yaml").write_text("namespaces: {/: }", "utf-16")
    with pytest.raises(ConfigError) as caught:
        load(Path("gateway.yaml"), {})
    assert str(caught.value) == "gateway.yaml:1:1: this is not UTF-8; save the file as UTF-8"


def test_a_variable_that_is_not_unicode_is_a_problem(tmp_path: Path) -> None:
    """Python reads such bytes of the environment as lone surrogates."""
    file = tmp_path / "gateway.yaml"
    file.write_text("namespaces: {/: }\nserver: {host: '${HOST}'}\n")
    with pytest.raises(ConfigError, match=r"server\.host: the character U\+DCFF is not allowed"):
        load(file, {"HOST": "a\udcff"})


def test_a_place_names_the_file_as_the_operator_does(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("namespaces: {/: }\nserver: {port: x}\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "gateway.yaml", {})
    assert caught.value.problems[0].place.file == f"{tmp_path}/gateway.yaml"


def test_problems_come_sorted_by_place(refused: Refuse) -> None:
    lines = [
        int(line.split(":")[1])
        for line in refused("z: 1\nserver:\n  host: ${NO}\n  a: 1\nb: 1\nnamespaces: {x y: }\n")
    ]
    assert lines == [1, 3, 4, 5, 6]


def test_equal_content_has_an_equal_digest(load_text: Load) -> None:
    plain = load_text("namespaces:\n  /chat:\n    order: serial\nserver: {port: 7001}\n")
    other = load_text(
        "# a comment\nserver:\n  'port': ${PORT}\nnamespaces: {/chat: {order: serial}}"
    )
    assert plain.digest == other.digest
    assert len(bytes.fromhex(plain.digest)) == 32


def test_other_content_has_another_digest(load_text: Load) -> None:
    texts = [
        "namespaces: {/: }",
        "namespaces: {/a: }",
        "namespaces: {/: }\nserver: {port: 1}",
        "namespaces: {/: {connection_middleware: [a, b]}}",
        "namespaces: {/: {connection_middleware: [b, a]}}",
        "namespaces: {/: }\nservices: {s: {use: a.b, with: {x: 1}}}",
        "namespaces: {/: }\nservices: {s: {use: a.b, with: {x: '1'}}}",
    ]
    assert len({load_text(text).digest for text in texts}) == len(texts)


def test_an_include_changes_the_digest_only_by_what_it_says(load_text: Load) -> None:
    whole = load_text("namespaces: {/: }\nserver: {port: 7001}\n")
    Path("server.yaml").write_text("server: {port: 7001}\n")
    parts = load_text("include: server.yaml\nnamespaces: {/: }\n")
    assert parts.digest == whole.digest
    assert tuple(parts.files) == (Path("gateway.yaml"), Path("server.yaml"))


SCRAPS = r"""
    namespaces server include services plugins /: / chat routes port use with order serial 25s
    : - ? [ ] { } , & * ! | > ' " % @ ` # ~ << *a &a !!x ${ } ${A} $${ \ --- ... true 0x1 1e9 .inf
"""
SPACES = [" ", "  ", "\n", "\t", ": ", "\n  ", "\n- "]
ANYTHING = st.sampled_from(SCRAPS.split() + SPACES) | st.text(max_size=3)


def problems_of(file: Path, text: str) -> tuple[Problem, ...]:
    """What is wrong with a text; nothing when it loads."""
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load(file, {"A": "[a"})
    except ConfigError as error:
        return error.problems or (Problem(Place(""), "", "a ConfigError without a problem"),)
    return ()


@settings(max_examples=400, derandomize=True, deadline=None, database=None)
@given(st.lists(ANYTHING).map("".join))
def test_no_text_raises_anything_but_problems_with_a_place(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "arbitrary.yaml"
    for problem in problems_of(file, text):
        assert problem.place.file == str(file)
        assert problem.place.line >= 1
        assert problem.place.column >= 1
        assert len(str(problem).splitlines()) == 1


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(st.integers(0), st.integers(0, 9), ANYTHING)
def test_no_damage_to_a_good_file_raises_anything_but_problems(
    tmp_path_factory: pytest.TempPathFactory, start: int, length: int, scrap: str
) -> None:
    text = (GOOD / "example.yaml").read_text()
    start %= len(text)
    file = tmp_path_factory.getbasetemp() / "damaged.yaml"
    for problem in problems_of(file, text[:start] + scrap + text[start + length :]):
        assert problem.place.file == str(file)
        assert len(str(problem).splitlines()) == 1


def test_a_copy_elsewhere_is_equal_content(tmp_path: Path, environ: Mapping[str, str]) -> None:
    copy = shutil.copytree(GOOD / "include", tmp_path / "copy")
    there, here = load(copy / "gateway.yaml", environ), load(GOOD / "include/gateway.yaml", environ)
    assert there.digest == here.digest
