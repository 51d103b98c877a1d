"""The FILE argument and the output of problems, shared by several verbs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from gateway.cli.line import indented
from gateway.errors import ConfigError

__all__ = ["BAD_CONFIG", "counted", "file_argument", "show_problems"]

BAD_CONFIG = 78
"""The exit code for an invalid configuration: EX_CONFIG of sysexits.h."""

file_argument = click.argument(
    "file", default="gateway.yaml", type=click.Path(path_type=Path), metavar="[FILE]"
)


def show_problems(error: ConfigError, format: str = "text") -> None:
    """Write problems and warnings: `text` to standard error, the others to standard output."""
    _SHOW[format](error)


def _text(error: ConfigError) -> None:
    for problem in sorted((*error.problems, *error.warnings), key=lambda each: each.place):
        place = click.style(str(problem.place), bold=True)
        click.echo(f"{place}: {problem.text}", err=True)
        if problem.excerpt:
            click.echo(problem.excerpt, err=True)
    counts = [(error.problems, "problem"), (error.warnings, "warning")]
    summary = ", ".join(counted(len(found), word) for found, word in counts if found)
    if summary:
        click.secho(summary, fg="red" if error.problems else "yellow", err=True)


def counted(number: int, word: str) -> str:
    """`1 route`, `2 routes`."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def _json(error: ConfigError) -> None:
    answer = {
        "problems": [problem.as_dict() for problem in error.problems],
        "warnings": [warning.as_dict() for warning in error.warnings],
    }
    click.echo(indented(answer))


def _github(error: ConfigError) -> None:
    for problem in (*error.problems, *error.warnings):
        place, path = problem.place, f"{problem.path}: " if problem.path else ""
        text = _escape(f"{path}{problem.message}")
        kind = "warning" if problem.is_warning else "error"
        click.echo(f"::{kind} file={place.file},line={place.line},col={place.column}::{text}")


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


_SHOW: dict[str, Callable[[ConfigError], None]] = {
    "text": _text,
    "json": _json,
    "github": _github,
}
