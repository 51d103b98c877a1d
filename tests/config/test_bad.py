"""Every mistake that has a file in `bad/` is told in the words of that file's first lines.

`# expect: 7:3: server.port: ...` is a problem of the file itself, and
`# expect: other.yaml:7:3: ...` one of a file it includes. A folder is a case of several files, of
which gateway.yaml is the main one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.config import load
from gateway.errors import ConfigError

BAD = Path(__file__).parent / "bad"
CASES = sorted([*BAD.glob("*.yaml"), *BAD.glob("*/gateway.yaml")])
EXPECT = "# expect: "


def name(file: Path) -> str:
    return file.stem if file.parent == BAD else file.parent.name


def expectations(file: Path) -> list[str]:
    found = []
    for line in file.read_text("utf-8", errors="replace").splitlines():
        if not line.startswith(EXPECT):
            break
        problem = line.removeprefix(EXPECT)
        found.append(f"{file.name}:{problem}" if problem[0].isdigit() else problem)
    return found


@pytest.mark.parametrize("file", CASES, ids=name)
def test_a_mistake_is_told_where_it_is_and_what_to_write(
    file: Path, environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    with pytest.raises(ConfigError) as caught:
        load(Path(file.name), environ)
    assert [str(problem) for problem in caught.value.problems] == expectations(file)


def test_every_case_expects_something() -> None:
    assert [name(file) for file in CASES if not expectations(file)] == []


def test_every_file_belongs_to_a_case() -> None:
    folders = {file.parent for file in CASES if file.parent != BAD}
    loose = {path for path in BAD.iterdir() if path not in CASES and path not in folders}
    assert loose == set()
