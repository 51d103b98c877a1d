"""`sockgw plan`: what would a reload change, and whom would it cut off?"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

import click

from gateway.cli.asking import asks_daemon, show_changes, show_pending
from gateway.cli.common import file_argument
from gateway.client.admin import AdminClient

__all__ = ["plan"]


@click.command(short_help="Compare FILE with what the daemon serves.")
@file_argument
@asks_daemon("add one to compare it with the daemon")
@click.option(
    "--format",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    help="How to write it: for people, programs, or problems as annotations of a pull request.",
)
def plan(file: Path, daemon: AdminClient, format: str) -> None:
    """Compare FILE with what the daemon serves, and change nothing.

    Tells what a reload would add (+), remove (-) and change (~), which sockets it would close and
    what would wait for a restart. Services are not started for it. Exits with 0, with 78 when the
    daemon would not serve FILE, and with 1 when it cannot be asked.
    """
    changes, closed = asyncio.run(daemon.plan(file.absolute()))
    if format == "json":
        answer = {**asdict(changes), "closed": closed, "problems": []}
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    click.echo("a reload would change:" if changes.changes else "a reload would change nothing")
    show_changes(changes.changes)
    lost = f"{closed} socket{'' if closed == 1 else 's'} of {', '.join(changes.removed)}"
    click.secho(f"it would close {lost if closed else 'no socket'}", fg="red" if closed else None)
    show_pending(changes.pending)
