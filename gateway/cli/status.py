"""`sockgw status`: how is the daemon?"""

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


@click.command(short_help="Tell how the daemon that serves FILE is.")
@file_argument
@asks_daemon("add one to ask the daemon")
@click.option(
    "--format",
    type=click.Choice(["text", "json"]),
    default="text",
    help="How to write it: for people or programs.",
)
def status(file: Path, daemon: AdminClient, format: str) -> None:
    """Tell how the daemon that serves FILE is: what it serves, to how many, and its last reload.

    Exits with 0, and with 1 when the daemon cannot be asked.
    """
    told = asyncio.run(daemon.status())
    if format == "json":
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    click.secho(f"generation {told['generation']} serves at {told['url']}", bold=True)
    for name, text in _lines(told):
        click.echo(f"  {name:<16}{near(text)}")


def _lines(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What there is to tell, and the name of each thing."""
    yield "file", told["file"]
    yield "digest", told["digest"][:12]
    yield "since", _time(told["since"])
    yield "started", _time(told["started"])
    if told["degraded"]:
        yield "degraded", _bad("the file is broken, and what was accepted last is served instead:")
        yield from (("", _bad(problem)) for problem in told["degraded"])
    yield from _last_reload(told["last_reload"])
    yield "sockets", _counts(told["sockets"]) or "none"
    yield "generations", f"{_counts(told['generations'])} tasks inside"
    yield "services", ", ".join(told["services"]) or "none"
    if told["pending"]:
        yield "pending restart", click.style(", ".join(told["pending"]), fg="yellow")
    yield "watcher", _watcher(**told["watcher"])


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
    text = f"{mode}, no file events: it looks now and then"
    return text if mode == "poll" else click.style(text, fg="yellow")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.items())


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")


def _bad(text: str) -> str:
    return click.style(text, fg="red")
