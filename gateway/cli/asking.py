"""Shared by the verbs that ask a running daemon: finding it, and showing changes."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path

import click

from gateway.cli.common import BAD_CONFIG, advising, fail, fitted, show_problems
from gateway.cli.line import printable
from gateway.client.admin import AdminClient, AdminError
from gateway.errors import ConfigError, Problem

__all__ = ["asks_daemon", "near", "near_problems", "show_changes", "show_near", "show_pending"]

ADMIN = "'admin: {socket: admin.sock}' to it"

_COLOURS = {"+": "green", "-": "red", "~": "yellow"}
_PARAMETERS = (
    click.option(
        "--admin",
        metavar="URL",
        help="Admin listener to use instead of FILE's: http://HOST:PORT or unix:PATH.",
    ),
    click.option("--token", help="Admin token to use instead of FILE's."),
)


def asks_daemon(
    to: str, otherwise: str = ""
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a verb ask the daemon that serves its `file`, which it gets as `daemon`.

    A daemon that cannot be reached is an error message and exit code 1. Without an `admin:` block
    there is none: `to` says what that is for, and `otherwise` what else to do. Problems of the
    configuration exit with 78.
    """

    def decorate(run: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(run)
        def asking(
            file: Path, format: str, admin: str | None, token: str | None, **rest: object
        ) -> None:
            try:
                with advising(file):
                    daemon = AdminClient(admin) if admin else AdminClient.of(file, os.environ)
                if daemon is None:
                    fail(f"{file} has no admin: block; {to}, add {ADMIN}{otherwise}", format)
                daemon = replace(daemon, token=token or daemon.token)
                run(file=file, format=format, daemon=daemon, **rest)
            except AdminError as error:
                fail(printable(str(error)), format)
            except ConfigError as error:
                show_near(error, format)
                raise SystemExit(BAD_CONFIG) from None

        for parameter in reversed(_PARAMETERS):
            asking = parameter(asking)
        return asking

    return decorate


def show_changes(changes: Iterable[str]) -> None:
    """Print changes, one a line, in the colour of their `+`, `-` or `~`."""
    for change in changes:
        click.secho(fitted(f"  {near(printable(change))}"), fg=_COLOURS.get(change[:1]))


def show_pending(keys: Collection[str]) -> None:
    """Print the keys that wait for a restart, if any."""
    if keys:
        click.secho(fitted(f"pending restart: {printable(', '.join(keys))}"), fg="yellow")


def show_near(error: ConfigError, format: str) -> None:
    """Print problems, with the daemon's paths relative to the current folder."""
    near_by = near_problems(error)
    shown = near_by if format == "json" else ConfigError(map(_printable, near_by.problems))
    show_problems(shown, format)


def near_problems(error: ConfigError) -> ConfigError:
    """Make the daemon's paths relative to the current folder."""
    return ConfigError(
        replace(problem, place=replace(problem.place, file=near(problem.place.file)))
        for problem in error.problems
    )


def _printable(problem: Problem) -> Problem:
    return replace(
        problem,
        place=replace(problem.place, file=printable(problem.place.file)),
        path=printable(problem.path),
        message=printable(problem.message),
        excerpt="\n".join(map(printable, problem.excerpt.split("\n"))),
    )


def near(text: str) -> str:
    """Make the paths in `text` relative to the current folder, where they are below it."""
    return text.replace(f"{Path.cwd()}{os.sep}", "")
