"""`sockgw check`: checks a file and its plugins."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.common import (
    BAD_CONFIG,
    build_of,
    counted,
    file_argument,
    format_option,
    show_problems,
)
from gateway.errors import ConfigError

__all__ = ["check"]


@click.command(short_help="Check FILE and its plugins.")
@file_argument
@format_option("github")
@click.option("--strict", is_flag=True, help="Exit with 78 if there are warnings, too.")
def check(file: Path, format: str, strict: bool) -> None:
    """Check FILE and its plugins as `run` does, without starting anything.

    Exits with 0 if `run` would serve FILE, else with 78. A warning is about something that can be
    served, and is most likely not meant.
    """
    try:
        build = build_of(file)
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
