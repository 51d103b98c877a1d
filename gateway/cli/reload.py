"""`sockgw reload`: reloads the daemon now, and waits for the result."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from gateway.cli.asking import asks_daemon, near_problems, show_changes, show_near, show_pending
from gateway.cli.common import BAD_CONFIG, file_argument, format_option, show_json
from gateway.client.admin import AdminClient
from gateway.daemon.admin import verdict_json
from gateway.daemon.reload import Verdict
from gateway.errors import ConfigError

__all__ = ["reload"]


@click.command(short_help="Reload FILE in the daemon, and wait for the result.")
@file_argument
@asks_daemon("to reload from here", ", or send SIGHUP to the daemon")
@format_option("github")
def reload(file: Path, daemon: AdminClient, format: str) -> None:
    """Reload FILE in the daemon that serves it, and wait for the result.

    Exits with 0 if the daemon now serves what is on disk, with 78 if it refused it and keeps
    serving what it had, and with 1 if the daemon cannot be reached.
    """
    verdict = asyncio.run(daemon.reload())
    if format == "json":
        show_json(verdict_json(verdict), near_problems(ConfigError(verdict.problems)))
    else:
        _show(verdict, format)
    if verdict.result == "failed":
        raise SystemExit(BAD_CONFIG)


def _show(verdict: Verdict, format: str) -> None:
    again = "valid again: " if verdict.recovered else ""
    if verdict.result == "failed":
        show_near(ConfigError(verdict.problems), format)
        click.echo(f"reload failed, generation {verdict.generation} stays", err=True)
    elif verdict.result == "unchanged":
        click.echo(f"{again}nothing has changed, generation {verdict.generation} serves")
    else:
        ms = verdict.seconds * 1000
        click.echo(f"{again}generation {verdict.generation} serves after {ms:.0f} ms")
        show_changes(verdict.plan.changes)
    show_pending(verdict.plan.pending)
