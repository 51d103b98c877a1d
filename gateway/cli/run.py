"""`sockgw run`: serves a gateway."""

from __future__ import annotations

import logging
import os
from importlib.metadata import version
from pathlib import Path

import click

from gateway.cli.common import BAD_CONFIG, advising, counted, file_argument, show_problems
from gateway.daemon import process
from gateway.daemon.daemon import Daemon, StartupInfo
from gateway.daemon.fleet import Unready
from gateway.daemon.listener import ListenError
from gateway.daemon.log import Format, is_json, problem_fields, set_up
from gateway.errors import ConfigError

__all__ = ["run"]

log = logging.getLogger("sockgw.server")


class _LogFormat(click.Choice[str]):
    """The formats of the log; `console` is the former name of `text`."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return super().convert("text" if value == "console" else value, param, ctx)


@click.command(short_help="Serve FILE, and reload it when it changes.")
@file_argument
@click.option("--host", help="Listen on this address instead of FILE's.")
@click.option("--port", type=click.IntRange(0, 65535), help="Listen on this port instead.")
@click.option(
    "--log-format",
    type=_LogFormat(["text", "json"]),
    help="Log for people, or one JSON object per line; wins over FILE's log.format.",
)
@click.option(
    "--last-good", is_flag=True, help="Serve the last accepted configuration if FILE is broken."
)
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Log every step of every packet, whatever FILE's log.level and log.levels are.",
)
def run(
    file: Path,
    host: str | None,
    port: int | None,
    log_format: Format | None,
    last_good: bool,
    verbose: bool,
) -> None:
    """Serve FILE until Ctrl-C, and reload it when it or its plugins change.

    Exits with 78 if FILE cannot be served, and with 1 if its address is not available.
    """
    set_up(log_format, verbose)
    daemon = Daemon(
        file, host=host, port=port, log_format=log_format, trace=verbose, last_good=last_good
    )
    try:
        with advising(file):
            process.run(daemon.run, _say)
    except ConfigError as error:
        if is_json():
            text = f"{file} cannot be served"
            log.error("%s", text, extra=problem_fields(text, error.problems, error.warnings))
        else:
            show_problems(error)
        raise SystemExit(os.EX_SOFTWARE if isinstance(error, Unready) else BAD_CONFIG) from None
    except ListenError as error:
        is_ours = error.is_taken and error.keys[0] == "server"
        text = f"{error}; choose another port with --port" if is_ours else str(error)
        if not is_json():
            raise click.ClickException(text) from None
        log.error("%s", text)
        raise SystemExit(1) from None


def _say(started: StartupInfo) -> None:
    if is_json():
        _log_start(started)
        return
    config, server = started.config, started.server
    if started.degraded is not None:
        show_problems(started.degraded)
        click.secho("serving the last accepted configuration instead", fg="yellow")
    click.echo(f"sockgw {version('sockgw')} serves {config.file}")
    path = "" if server.path == "/socket.io/" else f"  path {server.path}"
    click.echo(f"  {click.style(started.url, bold=True)}{path}  {', '.join(server.transports)}")
    if config.admin is not None:
        click.echo(f"  {started.admin.url}  admin")
    if config.api is not None:
        click.echo(f"  {started.push.url}  api")
    if server.workers > 1:
        click.echo(f"  {server.workers} workers")
    if handshake := config.server.handshake_middleware:
        click.echo(f"  handshake  {len(handshake)} middleware")
    width = max(map(len, config.namespaces))
    for name, each in config.namespaces.items():
        links = (*each.connection_middleware, *each.packet_middleware)
        routes = counted(len(each.routes), "route")
        click.echo(f"  {name:<{width}}  {routes}, {len(links) or 'no'} middleware")
    if server.cors_origins == "*":
        click.secho("  any web site may connect: server.cors_origins is '*'", fg="yellow")


def _log_start(started: StartupInfo) -> None:
    if started.degraded is not None:
        text = "serving the last accepted configuration instead of the file, which is broken"
        log.warning("%s", text, extra=problem_fields(text, started.degraded.problems))
    log.info("listening on %s", started.url)
