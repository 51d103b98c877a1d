from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.files import FileReader
from gateway.config.references import fill

ENVIRON = {"PORT": "7001", "EMPTY": "", "NESTED": "${PORT}"}


def told(text: str) -> tuple[str, tuple[str, ...]]:
    """The text filled in, and what is wrong."""
    filled = fill(text, ENVIRON, Path(), FileReader())
    return filled.text, filled.wrong


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("no variable", "no variable"),
        ("${PORT}", "7001"),
        ("a${PORT}b${PORT}", "a7001b7001"),
        ("${EMPTY}", ""),
        ("${PORT:-80}", "7001"),
        ("${NO:-80}", "80"),
        ("${NO:-}", ""),
        ("${EMPTY:-80}", "80"),
        ("${NO:-a:-b ? $ \n{}", "a:-b ? $ \n{"),
        ("${PORT:?say which}", "7001"),
        ("$${PORT}", "${PORT}"),
        ("$$${PORT}", "$${PORT}"),
        ("$PORT $ { } $$", "$PORT $ { } $$"),
        ("${NESTED}", "${PORT}"),
    ],
)
def test_a_variable_is_filled_in(text: str, filled: str) -> None:
    assert told(text) == (filled, ())


FORMS = "write ${VAR}, ${VAR:-default}, ${VAR:?message} or ${file:PATH}, and $${ for a literal ${"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "${NO}",
            "environment variable 'NO' is not set; write ${NO:-default} to give a default",
        ),
        ("${NO:?say  \n which}", "environment variable 'NO' is not set: say which"),
        ("${EMPTY:?say which}", "environment variable 'EMPTY' is empty: say which"),
        (
            "${EMPTY:?}",
            "environment variable 'EMPTY' is empty; write ${EMPTY:-default} to give a default",
        ),
        *(
            (text, f"{text!r} is no reference; {FORMS}")
            for text in ("${", "${}", "${PORT", "${1}", "${PORT-80}", "${ PORT }", "${PORT:80}")
        ),
    ],
)
def test_what_cannot_be_filled_in_is_told(text: str, message: str) -> None:
    assert told(text) == (text, (message,))


def test_variables_do_not_nest() -> None:
    filled, wrong = told("${NO:-${PORT}}")
    assert filled == "${NO:-${PORT}}"
    assert wrong == (f"'${{NO:-${{PORT}}' is no reference; {FORMS}",)


def test_every_variable_that_is_missing_is_told() -> None:
    _, wrong = told("${A} ${PORT} ${B}")
    assert [message.split("'")[1] for message in wrong] == ["A", "B"]
