"""What brings the proxies."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.programs import apt


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What was asked for, in a folder without anything, on a machine without anything."""
    asked: list[list[str]] = []

    def fetch(packages: list[str]) -> None:
        asked.append(packages)
        for name in packages:
            path = apt.ROOT / "usr/sbin" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(0o755)

    monkeypatch.setattr(apt, "INSTALLED", tmp_path / "apt")
    monkeypatch.setattr(apt, "ROOT", tmp_path / "apt/root")
    monkeypatch.setattr(apt, "PROXIES", ("no-nginx", "no-haproxy"))
    monkeypatch.setattr(apt, "_fetch", fetch)
    return asked


def test_installing_again_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    apt.install()
    monkeypatch.setattr(apt, "_fetch", pytest.fail)
    apt.install()
    assert all(apt.program(name).is_file() for name in apt.PROXIES)


def test_what_is_missing_is_fetched_once(
    fetched: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(LookupError, match="there is no no-nginx: run make test, or install it"):
        apt.program("no-nginx")
    apt.install()
    apt.install()
    assert fetched == [["no-nginx", "no-haproxy"]]
    assert apt.program("no-nginx") == apt.ROOT / "usr/sbin/no-nginx"
    assert capsys.readouterr().err == "tests/programs: fetches no-nginx and no-haproxy\n"


def test_the_programs_of_the_machine_come_first(
    fetched: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "no-nginx"
    own.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    apt.install()
    assert fetched == [["no-haproxy"]]
    assert apt.program("no-nginx") == own


def test_what_another_machine_has_made_or_left_half_is_fetched_again(
    fetched: list[list[str]],
) -> None:
    apt.install()
    (apt.INSTALLED / "stamp").write_text("another machine")
    apt.install()
    (apt.INSTALLED / "stamp").unlink()
    apt.install()
    assert len(fetched) == 3


def test_a_machine_without_apt_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, **_: None)
    with pytest.raises(LookupError, match="there is no apt-get to fetch nginx: install them"):
        apt._fetch(["nginx"])
