"""`sockgw plan`: shows what a reload would change, and which sockets it would close."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path

import click

from gateway.cli.asking import asks_daemon, show_changes, show_pending
from gateway.cli.common import counted, file_argument, fitted, format_option, show_json
from gateway.cli.line import printable
from gateway.client.admin import AdminClient

__all__ = ["plan"]


@click.command(short_help="Show what a reload of FILE would change.")
@file_argument
@asks_daemon("to compare it with what the daemon serves")
@format_option("github")
def plan(file: Path, daemon: AdminClient, format: str) -> None:
    """Compare FILE with what the daemon serves, without changing anything.

    Shows what a reload would add (+), remove (-) and change (~), which sockets it would close and
    which keys would wait for a restart. No service is started. Exits with 0, with 78 if the
    daemon would refuse FILE, and with 1 if the daemon cannot be reached.
    """
    changes, closed = asyncio.run(daemon.plan(file.absolute()))
    if format == "json":
        show_json({**asdict(changes), "closed": closed})
        return
    click.echo("a reload would change:" if changes.changes else "a reload would change nothing")
    show_changes(changes.changes)
    lost = f"{counted(closed, 'socket')} of {printable(', '.join(changes.removed))}"
    told = f"it would close {lost if closed else 'no sockets'}"
    click.secho(fitted(told), fg="red" if closed else None)
    show_pending(changes.pending)
