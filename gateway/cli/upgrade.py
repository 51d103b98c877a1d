"""`sockgw upgrade`: lets a new process of the program take over from the daemon."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path

import click

from gateway.cli.asking import asks_daemon, show_near
from gateway.cli.common import BAD_CONFIG, fail, file_argument, format_option, show_json
from gateway.cli.line import printable
from gateway.client.admin import AdminClient
from gateway.daemon.upgrade import UpgradeError
from gateway.errors import ConfigError

__all__ = ["upgrade"]


@click.command(short_help="Replace the daemon that serves FILE by a new version.")
@file_argument
@asks_daemon("to upgrade from here", ", or send SIGUSR2 to the daemon")
@format_option()
def upgrade(file: Path, daemon: AdminClient, format: str) -> None:
    """Start the daemon that serves FILE once more, from what is installed now, and let that serve.

    The new process takes the listening sockets over, so no connection is refused. Then the former
    one lets its clients go, and ends. Keys of FILE that wait for a restart take effect. If the new
    process cannot serve FILE, the former one serves on.

    Exits with 0 if the new process serves, with 78 if FILE cannot be served, and with 1 if it does
    not start for another reason, or the daemon cannot be reached.
    """
    try:
        successor = asyncio.run(daemon.upgrade())
    except UpgradeError as error:
        if not error.problems:
            fail(printable(str(error)), format)
        show_near(ConfigError(error.problems), format)
        if format != "json":
            click.echo("upgrade failed, the former process serves on", err=True)
        raise SystemExit(BAD_CONFIG) from None
    if format == "json":
        show_json(asdict(successor))
    else:
        click.echo(
            f"process {successor.pid} serves, after {successor.seconds:.1f} s; "
            "the former one lets its clients go"
        )
