"""`sockgw backends`: shows how backends do, and tries one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from gateway.backends.backend import HttpBackend, Probed
from gateway.backends.figures import quantile
from gateway.cli.asking import asks_daemon
from gateway.cli.common import (
    BAD_CONFIG,
    advising,
    fail,
    file_argument,
    format_option,
    show_json,
    show_problems,
)
from gateway.cli.line import printable
from gateway.client.admin import AdminClient, readable
from gateway.config import load
from gateway.errors import ConfigError, did_you_mean

__all__ = ["backends"]


class _WithoutVerb(click.Group):
    """A group that shows the backends if no verb of its own is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=_WithoutVerb, short_help="Show how backends do, or try one.", subcommand_metavar="[VERB]"
)
def backends() -> None:
    """Show how the backends of a gateway do, or try one.

    Without a verb, `list`.
    """


@backends.command("list", short_help="Show the backends of the daemon that serves FILE.")
@file_argument
@asks_daemon("to ask the daemon")
@format_option()
def list_(file: Path, daemon: AdminClient, format: str) -> None:
    """Show the backends of the daemon that serves FILE: breaker, rate, times, outcomes.

    Rates and times are of the last minute or two. Exits with 0, or with 1 if the daemon cannot be
    reached.
    """
    facts = asyncio.run(daemon.status())
    with readable(daemon.url):
        found = {name: _judged(**each) for name, each in facts["backends"].items()}
    if format == "json":
        show_json({"backends": found})
        return
    for name, each in found.items():
        click.secho(printable(f"{name}: {each['state']}"), fg=_colour(each["state"]), bold=True)
        for label, text in _lines(each):
            click.echo(f"  {label:<10}{printable(text)}")
    if not found:
        click.echo("no backends")


def _judged(
    breaker: Mapping[str, int], recent: list[int], calls_per_second: float, **facts: Any
) -> dict[str, Any]:
    """Add the state of a backend and the times of its calls to what the daemon tells."""
    is_open = next((each for each in ("open", "half_open") if breaker.get(each)), None)
    state = {"open": "paused", "half_open": "trying"}.get(is_open or "", "up")
    if sum(breaker.values()) > 1 and len(breaker) > 1:
        state = f"{state} in {breaker[is_open or 'closed']} of {sum(breaker.values())} workers"
    return {
        "state": state,
        **facts,
        "breaker": breaker,
        "calls_per_second": round(calls_per_second, 3),
        "p50": quantile(0.5, recent),
        "p99": quantile(0.99, recent),
    }


def _lines(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "url", facts["url"]
    times = ", ".join(f"{name} {_ms(facts[name])}" for name in ("p50", "p99"))
    yield "rate", f"{facts['calls_per_second']:.1f} calls a second, {times}"
    yield "now", f"{facts['in_flight']} in flight, {facts['waiting']} waiting"
    counts = [f"{name}: {count}" for name, count in facts["outcomes"].items() if count]
    yield "outcomes", ", ".join(counts) or "none"
    if told := facts["sessions"]:
        counts = [f"{told[key]} {key}" for key in ("sockets", "told", "waiting", "dropped")]
        yield "sessions", ", ".join(counts)
    if facts["retries"]:
        yield "sent again", str(facts["retries"])
    if facts["gone"]:
        yield "gone", ", ".join(facts["gone"])


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.3g} ms"


def _colour(state: str) -> str:
    return "green" if state == "up" else "yellow"


@backends.command(short_help="Send a backend of FILE a signed request of the type `probe`.")
@click.argument("name")
@file_argument
@click.option("--path", default="/", show_default=True, help="The path to send it to.")
@format_option()
def probe(name: str, file: Path, path: str, format: str) -> None:
    """Send a backend of FILE a signed request of the type `probe`, and print what comes back.

    The request comes from this command, not from the daemon. Exits with 0 if the answer is a 2xx
    that the gateway could use, else with 1.
    """
    try:
        with advising(file):
            config = load(file, os.environ)
    except ConfigError as error:
        show_problems(error, format)
        raise SystemExit(BAD_CONFIG) from None
    known = config.backends
    if name not in known:
        guess = did_you_mean(name, known) or (f"; backends: {', '.join(known)}" if known else "")
        fail(f"no backend {name!r} in {file}{guess}", format)
    probed = asyncio.run(_probe(HttpBackend(name, known[name]), path))
    is_good = probed.outcome == "ok"
    fault = config.secrets.mask(probed.fault)  # it may quote what the backend has sent back
    if format == "json":
        facts = {"outcome": probed.outcome, "status": probed.status, "seconds": probed.seconds}
        show_json({**facts, **({} if is_good else {"error": fault})})
    else:
        status = "" if probed.status is None else f"status {probed.status} "
        after = f"{status}after {probed.seconds * 1000:.0f} ms"
        told = f"{name}: ok, {after}" if is_good else f"{name}: {probed.outcome} {after}"
        why = "" if is_good or fault == f"status {probed.status}" else f": {fault}"
        click.secho(printable(told + why), fg="green" if is_good else "red", err=not is_good)
    raise SystemExit(not is_good)


async def _probe(backend: HttpBackend, path: str) -> Probed:
    try:
        return await backend.probe(path)
    finally:
        await backend.close()
