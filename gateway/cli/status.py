"""`sockgw status`: shows the status of the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import click

from gateway.cli.asking import asks_daemon, near, near_problems
from gateway.cli.common import counted, file_argument, fitted, format_option, show_json
from gateway.cli.line import printable
from gateway.client.admin import AdminClient, problems_in, readable
from gateway.errors import ConfigError, Problem

__all__ = ["status"]

INDENT = 18
"""Columns to the left of the texts."""

TRIGGERS = {"watch": "after a save", "signal": "by SIGHUP", "admin": "on request"}

_Line: TypeAlias = tuple[str, str, str | None]
"""A name, a text and the colour of the text."""


@click.command(short_help="Show the status of the daemon that serves FILE.")
@file_argument
@asks_daemon("to ask the daemon")
@format_option()
def status(file: Path, daemon: AdminClient, format: str) -> None:
    """Show the status of the daemon that serves FILE: sockets, generations, the last reload.

    Exits with 0, or with 1 if the daemon cannot be reached.
    """
    facts = asyncio.run(daemon.status())
    if format == "json":
        with readable(daemon.url):
            found = ConfigError(_problems(facts))
        show_json(facts, near_problems(found))
        return
    with readable(daemon.url):
        serves = f"generation {facts['generation']} serves at {facts['url']}"
        lines = list(_lines(facts))
    click.secho(printable(serves), bold=True)
    for name, text, color in lines:
        shown = fitted(" " * INDENT + near(printable(text)), hang=2)[INDENT:]
        click.echo(f"  {name:<16}{click.style(shown, fg=color) if color else shown}")


def _lines(facts: Mapping[str, Any]) -> Iterator[_Line]:
    yield "file", facts["file"], None
    yield "digest", facts["digest"][:12], None
    yield "serves since", _time(facts["since"]), None
    yield "started", _time(facts["started"]), None
    if "pid" in facts:  # a daemon of a former version has none
        yield "process", f"{facts['pid']}, sockgw {facts['version']}", None
    if facts["degraded"]:
        yield "degraded", "the file is broken; serving the last accepted one instead:", "red"
        degraded = problems_in({"problems": facts["degraded"]})
        yield from (("", str(problem), "red") for problem in degraded)
    yield from _last_reload(facts["last_reload"])
    yield "sockets", _counts(facts["sockets"]) or "none", None
    for number, worker in enumerate(facts.get("workers", ())):
        yield "" if number else "workers", *_worker(**worker)
    if "cluster" in facts:
        yield "cluster", *_cluster(**facts["cluster"])
    yield "tasks", _tasks(facts["generations"]), None
    for number, old in enumerate(facts["old_generations"]):
        yield "" if number else "still in use", _old(**old), None
    yield "services", ", ".join(facts["services"]) or "none", None
    if facts["pending"]:
        yield "pending restart", ", ".join(facts["pending"]), "yellow"
    for number, told in enumerate(facts["refused"]):
        yield "" if number else "refused", _refused(**told), "yellow"
    yield "watcher", *_watcher(**facts["watcher"])


def _problems(facts: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Return what is wrong with the files on disk: why others are served, or the last reload's."""
    if facts["degraded"]:
        return problems_in({"problems": facts["degraded"]})
    return problems_in(facts["last_reload"]) if facts["last_reload"] else ()


def _last_reload(verdict: Mapping[str, Any] | None) -> Iterator[_Line]:
    if verdict is None:
        yield "last reload", "none", None
        return
    trigger = TRIGGERS.get(verdict["trigger"], verdict["trigger"])
    text = f"{verdict['result']} at {_time(verdict['at'])}, {trigger}"
    yield "last reload", text, "red" if verdict["result"] == "failed" else None
    yield from (("", str(problem), "red") for problem in problems_in(verdict))


def _tasks(generations: Mapping[str, int]) -> str:
    """Say how many packets and connection chains run in each generation."""
    counts = [f"{count or 'none'} in generation {each}" for each, count in generations.items()]
    return ", ".join(counts)


def _old(generation: int, packets: int, chains: int, cancelled: int, until: float | None) -> str:
    going_on = packets - cancelled
    parts = []
    if going_on:
        end = "" if until is None else f" until {_time(until)} at the latest"
        parts.append(f"{counted(going_on, 'packet')}{end}")
    if cancelled:
        parts.append(f"{counted(cancelled, 'cancelled packet')} not done yet")
    if chains:
        parts.append(counted(chains, "connected socket"))
    return f"generation {generation} by {' and '.join(parts)}"


def _refused(what: str, who: str, cure: str, count: int, at: float) -> str:
    times = "once, at" if count == 1 else f"{count} times, last at"
    return f"{what}, {times} {_time(at)} from {who}: {cure}"


def _worker(
    number: int,
    tag: str,
    pid: int | None,
    state: str,
    sockets: int | None,
    restarts: int,
    generation: int,
) -> tuple[str, str | None]:
    """Say what a worker does; `sockets` of `None` means that it has not answered."""
    parts = [f"{number}: {state}"]
    if pid is not None:
        parts.append(f"process {pid}")
    if state == "serving":
        parts.append("no answer" if sockets is None else counted(sockets, "socket"))
    if restarts:
        parts.append(f"restarted {counted(restarts, 'time')}")
    is_well = state == "serving" and sockets is not None
    return ", ".join(parts), None if is_well else "yellow"


def _cluster(name: str, up: bool, since: float, fault: str, members: int) -> tuple[str, str | None]:
    others = counted(members, "other member")
    if up:
        return f"{name}, connected since {_time(since)}, {others}", None
    why = f": {fault}" if fault else ""
    return f"{name}, degraded since {_time(since)}{why}; {others} known", "red"


def _watcher(mode: str, up: bool) -> tuple[str, str | None]:
    if mode == "off":
        return "off", None
    if up:
        return f"{mode}, file events arrive", None
    text = f"{mode}, no file events: checking periodically"
    return text, None if mode == "poll" else "yellow"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.items())


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
