"""`sockgw run`: serves a gateway."""

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path

import click

from gateway.cli.common import BAD_CONFIG, file_argument, show_problems
from gateway.daemon import process
from gateway.daemon.daemon import Daemon, StartupInfo
from gateway.daemon.listener import ListenError
from gateway.daemon.log import Format, set_up
from gateway.errors import ConfigError
from gateway.runtime.blueprint import NamespaceBlueprint

__all__ = ["run"]

log = logging.getLogger("sockgw.server")


@click.command(short_help="Serve FILE, and reload it when it changes.")
@file_argument
@click.option("--host", help="Listen on this address instead of FILE's.")
@click.option("--port", type=click.IntRange(0, 65535), help="Listen on this port instead.")
@click.option(
    "--log-format",
    type=click.Choice(["console", "json"]),
    default="console",
    help="Log for people, or one JSON object per line.",
)
@click.option(
    "--last-good", is_flag=True, help="Serve the last accepted configuration if FILE is broken."
)
@click.option("-v", "--verbose", is_flag=True, help="Log every step of every packet.")
def run(
    file: Path,
    host: str | None,
    port: int | None,
    log_format: Format,
    last_good: bool,
    verbose: bool,
) -> None:
    """Serve FILE until Ctrl-C, and reload it when it or its plugins change.

    Exits with 78 if FILE cannot be served, and with 1 if its address is not available.
    """
    set_up(log_format, verbose)
    say = _say_json if log_format == "json" else _say
    daemon = Daemon(file, host=host, port=port, trace=verbose, last_good=last_good)
    try:
        process.run(daemon, say)
    except ConfigError as error:
        show_problems(error)
        raise SystemExit(BAD_CONFIG) from None
    except ListenError as error:
        raise click.ClickException(str(error)) from None


def _say(started: StartupInfo) -> None:
    build, server = started.build, started.server
    if started.degraded is not None:
        show_problems(started.degraded)
        click.secho("serving the last accepted configuration instead", fg="yellow")
    click.echo(f"sockgw {version('sockgw')} serves {build.config.file}")
    path = "" if server.path == "/socket.io/" else f"  path {server.path}"
    click.echo(f"  {click.style(started.url, bold=True)}{path}  {', '.join(server.transports)}")
    if links := build.blueprint.handshake_links:
        click.echo(f"  handshake  {' -> '.join(link.name for link in links)}")
    rows = [_row(namespace) for namespace in build.blueprint.namespaces.values()]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for name, chains, routes in rows:
        click.echo(f"  {name:<{widths[0]}}  {chains:<{widths[1]}}  {routes}")
    if server.cors_origins == "*":
        click.secho("  any web site may connect: server.cors_origins is '*'", fg="yellow")


def _row(namespace: NamespaceBlueprint) -> tuple[str, str, str]:
    links = [link.name for link in (*namespace.connection_links, *namespace.packet_links)]
    count = namespace.route_count
    return (
        namespace.name,
        " -> ".join(links) or "no middleware",
        f"{count} route{'' if count == 1 else 's'}",
    )


def _say_json(started: StartupInfo) -> None:
    log.info("listening on %s", started.url)
