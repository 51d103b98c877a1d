"""The FILE argument and the output of problems, shared by several verbs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from gateway.cli.line import indented
from gateway.errors import ConfigError, Problem

__all__ = ["BAD_CONFIG", "file_argument", "show_problems"]

BAD_CONFIG = 78
"""The exit code for an invalid configuration: EX_CONFIG of sysexits.h."""

file_argument = click.argument(
    "file", default="gateway.yaml", type=click.Path(path_type=Path), metavar="[FILE]"
)


def show_problems(error: ConfigError, format: str = "text") -> None:
    """Write the problems: `text` to standard error, `json` and `github` to standard output."""
    _SHOW[format](error.problems)


def _text(problems: tuple[Problem, ...]) -> None:
    for problem in problems:
        place = click.style(str(problem.place), bold=True)
        path = f"{problem.path}: " if problem.path else ""
        click.echo(f"{place}: {path}{problem.message}", err=True)
    count = len(problems)
    click.secho(f"{count} problem{'s' if count > 1 else ''}", fg="red", err=True)


def _json(problems: tuple[Problem, ...]) -> None:
    entries = [problem.as_dict() for problem in problems]
    click.echo(indented({"problems": entries}))


def _github(problems: tuple[Problem, ...]) -> None:
    for problem in problems:
        place, path = problem.place, f"{problem.path}: " if problem.path else ""
        text = _escape(f"{path}{problem.message}")
        click.echo(f"::error file={place.file},line={place.line},col={place.column}::{text}")


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


_SHOW: dict[str, Callable[[tuple[Problem, ...]], None]] = {
    "text": _text,
    "json": _json,
    "github": _github,
}
