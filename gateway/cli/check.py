"""`sockgw check`: checks a file and its plugins."""

from __future__ import annotations

import os
from pathlib import Path

import click

from gateway.cli.common import BAD_CONFIG, counted, file_argument, show_problems
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
@click.option("--strict", is_flag=True, help="Exit with 78 if there are warnings, too.")
def check(file: Path, format: str, strict: bool) -> None:
    """Check FILE and its plugins as `run` does, without starting anything.

    Exits with 0 if `run` would serve FILE, else with 78. A warning is about something that can be
    served, and is most likely not meant.
    """
    try:
        build = load(file, os.environ)
    except ConfigError as error:
        show_problems(error, format)
        raise SystemExit(BAD_CONFIG) from None
    show_problems(ConfigError((), build.warnings), format)
    if strict and build.warnings:
        raise SystemExit(BAD_CONFIG)
    if format == "text":
        namespaces = build.blueprint.namespaces.values()
        routes = counted(sum(each.route_count for each in namespaces), "route")
        click.echo(f"{file} is valid: {counted(len(namespaces), 'namespace')}, {routes}")
