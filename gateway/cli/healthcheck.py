"""`sockgw healthcheck`: tells whether the daemon is ready, for containers and scripts."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click

from gateway.cli.common import counted, file_argument, format_option, show_json
from gateway.cli.line import printable
from gateway.client.admin import admin_url, config_of, http_url, reached_by
from gateway.client.health import Health, Probe, ask
from gateway.errors import ConfigError

__all__ = ["healthcheck"]


@click.command(short_help="Tell whether the daemon that serves FILE is ready.")
@file_argument
@click.option("--live", is_flag=True, help="Ask only whether it answers, not whether it is ready.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0, min_open=True),
    default=3.0,
    show_default=True,
    help="How long to wait for the answer.",
)
@click.option(
    "--admin",
    metavar="URL",
    help="Admin listener to use instead of FILE's: http://HOST:PORT or unix:PATH.",
)
@click.option("--host", help="The --host that `run` was given.")
@click.option("--port", type=click.IntRange(1, 65535), help="The --port that `run` was given.")
@format_option()
def healthcheck(
    file: Path,
    live: bool,
    timeout: float,
    admin: str | None,
    host: str | None,
    port: int | None,
    format: str,
) -> None:
    """Ask the daemon that serves FILE whether it is ready, and print the answer in one line.

    Asks the admin listener for /readyz. If FILE has no admin block, it asks the public port,
    without opening a session; that tells only whether the daemon answers.

    Exits with 0 if all is well, else with 1.
    """
    path = "/healthz" if live else "/readyz"
    try:
        probe = _at_admin(admin, path) if admin else _probe(file, path, host, port)
    except ConfigError as error:
        count = counted(len(error.problems), "problem")
        _end(Health(None, 0.0, f"{file} has {count}, see: sockgw check {file}"), None, format)
    _end(asyncio.run(ask(probe, timeout)), probe, format)


def _probe(file: Path, path: str, host: str | None, port: int | None) -> Probe:
    config = config_of(file, os.environ)
    if config.admin is not None:
        return _at_admin(admin_url(config.admin), path)
    server = config.server
    scheme = "https" if server.tls else "http"
    url = http_url(host or server.host, port or server.port, scheme)
    # The only request to this path that opens no session and is no violation.
    return Probe("OPTIONS", url + server.path)


def _at_admin(url: str, path: str) -> Probe:
    base, unix = reached_by(url)
    return Probe("GET", base + path, unix)


def _end(health: Health, probe: Probe | None, format: str) -> None:
    """Print the answer and exit."""
    ms = f"{health.seconds * 1000:.0f} ms"
    told = health.reason or f"{probe} answered {health.status} after {ms}"
    if format == "json":
        answer = {"healthy": health.is_healthy, "url": probe and str(probe)}
        reason = {} if health.is_healthy else {"error": told}
        show_json({**answer, "status": health.status, "seconds": health.seconds, **reason})
    else:
        word = "healthy" if health.is_healthy else "not healthy"
        click.echo(printable(f"{word}: {told}"), err=not health.is_healthy)
    raise SystemExit(not health.is_healthy)
