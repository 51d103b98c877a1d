"""`sockgw run`: serve a gateway."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import click

from gateway.cli import garbage
from gateway.cli.common import BAD_CONFIG, file_argument, show_problems
from gateway.daemon.daemon import Daemon, StartupInfo
from gateway.daemon.listener import ListenError
from gateway.daemon.log import Format, set_up
from gateway.errors import ConfigError
from gateway.runtime.blueprint import NamespaceBlueprint
from gateway.runtime.tasks import new_event_loop

__all__ = ["run"]

log = logging.getLogger("sockgw.server")

LEFT_BEHIND = 2.0
"""Seconds for tasks, and then for threads, that plugins have started and nobody ended."""


@click.command(short_help="Serve FILE, and its changes as they come.")
@file_argument
@click.option("--host", help="Listen on this address instead of the file's.")
@click.option("--port", type=click.IntRange(0, 65535), help="Listen on this port instead.")
@click.option(
    "--log-format",
    type=click.Choice(["console", "json"]),
    default="console",
    help="How to log: for people or one JSON object a line.",
)
@click.option(
    "--last-good", is_flag=True, help="Serve the last accepted configuration if FILE is broken."
)
@click.option("-v", "--verbose", is_flag=True, help="Log every step a packet takes.")
def run(
    file: Path,
    host: str | None,
    port: int | None,
    log_format: Format,
    last_good: bool,
    verbose: bool,
) -> None:
    """Serve FILE until Ctrl-C; changes of it and of its plugins are taken over as they come.

    Exits with 78 when FILE cannot be served and with 1 when its address cannot be had.
    """
    set_up(log_format, verbose)
    say = _say_json if log_format == "json" else _say

    def started(facts: StartupInfo) -> None:
        garbage.set_up()
        say(facts)

    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            daemon = Daemon(file, host=host, port=port, trace=verbose, last_good=last_good)
            runner.run(_serve(daemon, started))
            _leave_threads()
    except ConfigError as error:
        show_problems(error)
        raise SystemExit(BAD_CONFIG) from None
    except ListenError as error:
        raise click.ClickException(str(error)) from None


async def _serve(daemon: Daemon, started: Callable[[StartupInfo], None]) -> None:
    calls = ThreadPoolExecutor(thread_name_prefix="asyncio")
    asyncio.get_running_loop().set_default_executor(calls)
    await daemon.run(started)
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=LEFT_BEHIND)
    calls.shutdown(wait=False, cancel_futures=True)
    if late := [task for task in tasks if not task.done()]:
        names = ", ".join(sorted(getattr(task.get_coro(), "__qualname__", "?") for task in late))
        log.error("tasks of plugins that do not end, though they were cancelled: %s", names)
        os._exit(os.EX_SOFTWARE)  # any other way out waits for them


def _leave_threads() -> None:
    """End without the threads that Python would wait for, if they do not end themselves."""
    limit = time.monotonic() + LEFT_BEHIND
    threads = [each for each in threading.enumerate() if not each.daemon]
    threads.remove(threading.main_thread())
    for thread in threads:
        thread.join(max(0.0, limit - time.monotonic()))
    if late := [thread.name for thread in threads if thread.is_alive()]:
        log.error("threads of plugins that do not end: %s", ", ".join(sorted(late)))
        os._exit(os.EX_SOFTWARE)


def _say(started: StartupInfo) -> None:
    build, server = started.build, started.server
    if started.degraded is not None:
        show_problems(started.degraded)
        click.secho("serving the last configuration that was accepted instead", fg="yellow")
    click.echo(f"sockgw {version('sockgw')} serves {build.config.file}")
    path = "" if server.path == "/socket.io/" else f"  path {server.path}"
    click.echo(f"  {click.style(started.url, bold=True)}{path}  {', '.join(server.transports)}")
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
