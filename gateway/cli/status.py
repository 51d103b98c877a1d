"""`sockgw status`: shows the status of the daemon."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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

CURE = "bring the same file and plugins to all"

MOST_MEMBERS = 20
"""Members that are listed."""

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
        yield from _cluster(facts["cluster"])
    yield "tasks", _tasks(facts["generations"]), None
    for number, old in enumerate(facts["old_generations"]):
        yield "" if number else "still in use", _old(**old), None
    yield "services", _services(facts) or "none", None
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


def _cluster(facts: Mapping[str, Any]) -> Iterator[_Line]:
    name, since, fault = facts["name"], _time(facts["since"]), facts["fault"]
    others = counted(facts["members"], "other member")
    if facts["up"]:
        yield "cluster", f"{name}, connected since {since}, {others}", None
    else:
        why = f": {fault}" if fault else ""
        yield "cluster", f"{name}, degraded since {since}{why}; {others} known", "red"
    if "serving" in facts:  # a daemon of a former version does not tell
        yield from _members(facts["serving"])
        if facts["drift"]:
            yield "drift", f"since {_time(facts['differ_since'])}: {facts['drift']}; {CURE}", "red"
        elif facts["configurations"] > 1:
            since = _time(facts["differ_since"])
            yield "changing", f"{facts['configurations']} configurations since {since}", "yellow"
    if "links" in facts:
        yield "links", *_links(**facts["links"])


def _members(serving: Sequence[Mapping[str, Any]]) -> Iterator[_Line]:
    """Say what each member serves; the rarest configuration comes first."""
    counts = Counter(each["fingerprint"] for each in serving)
    known = [each for each in serving if each["fingerprint"]]
    known.sort(key=lambda each: (counts[each["fingerprint"]], each["node"], each["worker"]))
    wires = {each["wire"] for each in known}
    for number, each in enumerate(known[:MOST_MEMBERS]):
        serves = f"{each['fingerprint'][:8]} since {_time(each['since'])}"
        wire = f", wire {each['wire']}" if len(wires) > 1 else ""
        text = f"{_member(each)}: {serves}, version {each['version']}{wire}"
        yield "" if number else "members", text, None
    if len(known) > MOST_MEMBERS:
        yield "", f"and {len(known) - MOST_MEMBERS} more: see --format json", None
    if len(known) < len(serving):
        yield "", f"{counted(len(serving) - len(known), 'member')} not heard of yet", None


def _member(facts: Mapping[str, Any]) -> str:
    return f"{facts['node']}/{facts['worker']}"


def _services(facts: Mapping[str, Any]) -> str:
    """Name the services, and say where those run of which there is only one."""
    serving = facts.get("cluster", {}).get("serving", ())
    others = {each["tag"]: _member(each) for each in serving if each["node"]}
    workers = {each["tag"]: f"worker {each['number']}" for each in facts.get("workers", ())}
    where = {
        name: _where(workers.get(each["member"]), others.get(each["member"]), here=each["here"])
        for name, each in facts.get("placed", {}).items()
    }
    return ", ".join(
        f"{name} ({where[name]})" if name in where else name for name in facts["services"]
    )


def _where(worker: str | None, other: str | None, *, here: bool) -> str:
    if worker is None and here:
        return "runs here"
    member = worker or other
    return f"runs on {member}" if member else "not here"


def _links(ports: list[int], up: int, down: int, faults: list[str]) -> tuple[str, str | None]:
    at = f"listening at port {', '.join(map(str, ports))}" if ports else "not listening"
    why = f": {'; '.join(faults)}" if faults else ""
    return f"{at}, {up} up, {down} down{why}", None if ports and not down else "yellow"


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
