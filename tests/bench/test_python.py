"""The Python that servers are measured on is one built with profiles, if there is one."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.python import find

MINOR = sys.version_info.minor


def interpreter(path: Path, version: str, flags: str, *, usable: bool = True) -> str:
    """A program that says of itself what an interpreter would say."""
    facts = {"path": str(path), "prefix": "/opt", "version": version, "flags": flags}
    path.write_text(f"#!/bin/sh\necho '{json.dumps(facts | {'usable': usable})}'\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """All of PATH; the Python that runs is one built without profiles."""
    monkeypatch.delenv("BENCH_PYTHON", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    own = interpreter(tmp_path / "own", f"3.{MINOR}.1", "-O3")
    monkeypatch.setattr(sys, "executable", own)
    find.cache_clear()
    yield tmp_path
    find.cache_clear()


def test_one_built_with_profiles_is_taken(folder: Path) -> None:
    path = interpreter(folder / f"python3.{MINOR}", f"3.{MINOR}.0", "'--enable-optimizations'")
    assert str(find()) == (
        f"Python 3.{MINOR}.0, built with profiles (--enable-optimizations), {path}"
    )


def test_this_one_is_taken_if_it_is_built_with_profiles(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter(folder / f"python3.{MINOR}", f"3.{MINOR}.0", "--enable-optimizations")
    own = interpreter(folder / "own", f"3.{MINOR}.1", "-fprofile-use")
    assert find().path == own


def test_a_python_that_the_gateway_cannot_run_on_is_passed_over(folder: Path) -> None:
    path = folder / f"python3.{MINOR}"
    interpreter(path, f"3.{MINOR}.0", "--enable-optimizations", usable=False)
    assert find().path != str(path)


def test_the_environment_names_another(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = interpreter(folder / "slow", "3.12.3", "-O3")
    monkeypatch.setenv("BENCH_PYTHON", path)
    assert str(find()) == (f"Python 3.12.3, built without profiles, which is slower, {path}")


@pytest.mark.parametrize("version", ["3.10.13", ""], ids=["too old", "missing"])
def test_what_the_environment_names_must_be_usable(
    folder: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    path = str(folder / "old")
    if version:
        interpreter(folder / "old", version, "--enable-optimizations")
    monkeypatch.setenv("BENCH_PYTHON", path)
    with pytest.raises(RuntimeError) as caught:
        find()
    assert str(caught.value) == f"BENCH_PYTHON is no CPython 3.11 or later: {path}"
