"""`sockgw status`: shows the status of the daemon."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from gateway.cli.asking import asks_daemon, near
from gateway.cli.common import file_argument
from gateway.client.admin import AdminClient, problems_in

__all__ = ["status"]


@click.command(short_help="Show the status of the daemon that serves FILE.")
@file_argument
@asks_daemon("add one to ask the daemon")
@click.option(
    "--format",
    type=click.Choice(["text", "json"]),
    default="text",
    help="Output for people or programs.",
)
def status(file: Path, daemon: AdminClient, format: str) -> None:
    """Show the status of the daemon that serves FILE: sockets, generations, the last reload.

    Exits with 0, or with 1 if the daemon cannot be reached.
    """
    facts = asyncio.run(daemon.status())
    if format == "json":
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    click.secho(f"generation {facts['generation']} serves at {facts['url']}", bold=True)
    for name, text in _lines(facts):
        click.echo(f"  {name:<16}{near(text)}")


def _lines(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The lines of the status: a name and its text."""
    yield "file", facts["file"]
    yield "digest", facts["digest"][:12]
    yield "since", _time(facts["since"])
    yield "started", _time(facts["started"])
    if facts["degraded"]:
        yield (
            "degraded",
            _bad("the file is broken; serving the last accepted one instead:"),
        )
        yield from (("", _bad(problem)) for problem in facts["degraded"])
    yield from _last_reload(facts["last_reload"])
    yield "sockets", _counts(facts["sockets"]) or "none"
    yield "generations", f"{_counts(facts['generations'])} tasks"
    yield "services", ", ".join(facts["services"]) or "none"
    if facts["pending"]:
        yield "pending restart", click.style(", ".join(facts["pending"]), fg="yellow")
    yield "watcher", _watcher(**facts["watcher"])


def _last_reload(verdict: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    if verdict is None:
        yield "last reload", "none"
        return
    text = f"{verdict['result']} at {_time(verdict['at'])}, by {verdict['trigger']}"
    yield "last reload", _bad(text) if verdict["result"] == "failed" else text
    yield from (("", _bad(str(problem))) for problem in problems_in(verdict))


def _watcher(mode: str, up: bool) -> str:
    if mode == "off":
        return "off"
    if up:
        return f"{mode}, file events arrive"
    text = f"{mode}, no file events: checking periodically"
    return text if mode == "poll" else click.style(text, fg="yellow")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.items())


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")


def _bad(text: str) -> str:
    return click.style(text, fg="red")
