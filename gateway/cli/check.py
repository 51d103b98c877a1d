"""`sockgw check`: checks a file and its plugins."""

from __future__ import annotations

import os
from pathlib import Path

import click

from gateway.cli.common import BAD_CONFIG, file_argument, show_problems
from gateway.compiler import load
from gateway.errors import ConfigError

__all__ = ["check"]


@click.command(short_help="Check FILE and its plugins.")
@file_argument
@click.option(
    "--format",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    help="Output for people, programs, or annotations of a pull request.",
)
def check(file: Path, format: str) -> None:
    """Check FILE and its plugins as `run` does, without starting anything.

    Exits with 0 if `run` would serve FILE, else with 78.
    """
    try:
        blueprint = load(file, os.environ).blueprint
    except ConfigError as error:
        show_problems(error, format)
        raise SystemExit(BAD_CONFIG) from None
    if format == "json":
        click.echo('{\n  "problems": []\n}')
    elif format == "text":
        routes = sum(n.route_count for n in blueprint.namespaces.values())
        names = len(blueprint.namespaces)
        click.echo(f"{file} is valid: {_count(names, 'namespace')}, {_count(routes, 'route')}")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
