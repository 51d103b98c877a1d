"""`sockgw plan`: shows what a reload would change, and which sockets it would close."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path

import click

from gateway.cli.asking import asks_daemon, show_changes, show_pending
from gateway.cli.common import file_argument
from gateway.cli.line import indented, printable
from gateway.client.admin import AdminClient

__all__ = ["plan"]


@click.command(short_help="Show what a reload of FILE would change.")
@file_argument
@asks_daemon("add one to compare it with the daemon")
@click.option(
    "--format",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    help="Output for people, programs, or problems as annotations of a pull request.",
)
def plan(file: Path, daemon: AdminClient, format: str) -> None:
    """Compare FILE with what the daemon serves, without changing anything.

    Shows what a reload would add (+), remove (-) and change (~), which sockets it would close and
    which keys would wait for a restart. No service is started. Exits with 0, with 78 if the
    daemon would refuse FILE, and with 1 if the daemon cannot be reached.
    """
    changes, closed = asyncio.run(daemon.plan(file.absolute()))
    if format == "json":
        answer = {**asdict(changes), "closed": closed, "problems": []}
        click.echo(indented(answer))
        return
    click.echo("a reload would change:" if changes.changes else "a reload would change nothing")
    show_changes(changes.changes)
    lost = f"{closed} socket{'' if closed == 1 else 's'} of {printable(', '.join(changes.removed))}"
    click.secho(f"it would close {lost if closed else 'no socket'}", fg="red" if closed else None)
    show_pending(changes.pending)
