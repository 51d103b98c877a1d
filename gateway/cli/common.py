"""The FILE argument, --format and the output of results, shared by several verbs.

With `--format json` a verb prints one object, whether it succeeds or not; docs/command-line.md has
its keys.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import click

from gateway.cli.line import indented
from gateway.compiler import Build, load
from gateway.errors import ConfigError, Place, did_you_mean

__all__ = [
    "BAD_CONFIG",
    "NO_PROBLEMS",
    "advising",
    "build_of",
    "counted",
    "fail",
    "file_argument",
    "fitted",
    "format_option",
    "show_json",
    "show_problems",
]

BAD_CONFIG = 78
"""The exit code for an invalid configuration: EX_CONFIG of sysexits.h."""

NARROWEST = 24
"""Columns: lines are not wrapped to fewer."""

file_argument = click.argument(
    "file", default="gateway.yaml", type=click.Path(path_type=Path), metavar="[FILE]"
)


NO_PROBLEMS = ConfigError(())

_FORMATS = {
    ("text", "json"): "Output for people or programs.",
    ("text", "json", "github"): "Output for people, programs, or annotations of a pull request.",
}


def format_option(
    *more: str, help: str = ""
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add `--format` to a verb: text, json and `more`; `help` is for other than the usual."""
    formats = ("text", "json", *more)
    return click.option(
        "--format", type=click.Choice(formats), default="text", help=help or _FORMATS[formats]
    )


def build_of(file: Path) -> Build:
    """Load FILE and its plugins; what plugins print must not stand among the results.

    Raises `ConfigError`.
    """
    with advising(file), redirect_stdout(sys.stderr):
        return load(file, os.environ)


@contextmanager
def advising(file: Path) -> Iterator[None]:
    """Let a `ConfigError` that FILE is not there say which one may be meant, or how to make one."""
    try:
        yield
    except ConfigError as error:
        if file.is_file() or not (error.problems and error.problems[0].place == Place(str(file))):
            raise
        first, *others = error.problems
        advised = replace(first, message=first.message + _advice(file))
        raise ConfigError([advised, *others], error.warnings) from None


def _advice(file: Path) -> str:
    if file.is_dir():
        inside = file / "gateway.yaml"
        folder, near = file, f"; did you mean {inside}?" if inside.exists() else ""
    else:
        folder = file.parent
        near = did_you_mean(file.name, (each.name for each in folder.glob("*.y*ml")))
    return near or f"; to create a project, write: sockgw init {folder}".removesuffix(" .")


def show_json(answer: Mapping[str, object], found: ConfigError = NO_PROBLEMS) -> None:
    """Print the result of a verb for programs, with the problems and warnings that it found."""
    problems = [problem.as_dict() for problem in found.problems]
    warnings = [warning.as_dict() for warning in found.warnings]
    click.echo(indented({**answer, "problems": problems, "warnings": warnings}))


def fail(message: str, format: str) -> NoReturn:
    """Say why there is no result, and exit with 1."""
    if format != "json":
        raise click.ClickException(message)
    show_json({"error": message})
    raise SystemExit(1)


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


def fitted(line: str, hang: int = 4) -> str:
    """Wrap a line to the width of the terminal; what goes elsewhere is left as it is.

    Its other lines are indented by `hang` columns more.
    """
    if not sys.stdout.isatty():
        return line
    indent = " " * (len(line) - len(line.lstrip()))
    wrapped = textwrap.wrap(
        line.lstrip(),
        max(shutil.get_terminal_size().columns, NARROWEST),
        initial_indent=indent,
        subsequent_indent=indent + " " * hang,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(wrapped)


def _json(error: ConfigError) -> None:
    show_json({}, error)


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
