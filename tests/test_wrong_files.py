"""What `check` prints for every kind of mistake that people make.

A file in `wrong/` is one case: the files of a project, each after a line `--- NAME`, and last what
`sockgw check` prints. A case without the last part gets it written, and fails once.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.invoke import invoke

WRONG = Path(__file__).parent / "wrong"
CASES = sorted(WRONG.glob("*.case"))
PRINTED = "what check prints"
BAD_CONFIG = 78


def parts(case: Path) -> dict[str, str]:
    """The files of a case by name, and what is printed."""
    _, *found = re.split(r"^--- (.+)\n", case.read_text(), flags=re.MULTILINE)
    return dict(zip(found[::2], found[1::2], strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_a_mistake_is_told_in_one_go(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = parts(case)
    expected = files.pop(PRINTED, None)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "plugins").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path)
    result = invoke("check")
    is_refused = "problem" in result.stderr.splitlines()[-1]
    assert result.exit_code == (BAD_CONFIG if is_refused else 0)
    assert is_refused or invoke("check", "--strict").exit_code == BAD_CONFIG
    if expected is None:
        case.write_text(f"{case.read_text()}--- {PRINTED}\n{result.output}")
    assert result.output == expected


def test_there_are_enough() -> None:
    assert len(CASES) >= 75
