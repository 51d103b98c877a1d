"""`sockgw emit`: sends one event from a script."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import click

from gateway.api import Value
from gateway.cli.common import format_option
from gateway.cli.line import document, parse_argument, parse_event, printable
from gateway.cli.target import connect_error, takes_target
from gateway.client.socket import ClientSocket, ConnectError, Disconnected, Target, connect

__all__ = ["command"]


@dataclass(slots=True)
class EmitRun:
    """One `sockgw emit`: the event to send, and the answers it still waits for.

    `ack` is true while the ack is missing; `left` counts the missing events named in `listen`.
    """

    event: str
    args: list[Value]
    ack: bool
    listen: tuple[str, ...]
    left: int
    whole: bool
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    def on_event(self, event: str, args: list[Value]) -> None:
        """Print an event if it is in `listen`."""
        if event not in self.listen or not self.left:
            return
        self._print({"event": event, "args": args}, args)
        self.left -= 1
        if not self.left:
            self.heard.set()

    async def run(self, socket: ClientSocket) -> bool:
        """Send, and print the answers until all have come; false if the ack is an error."""
        start = time.perf_counter()
        if self.ack:
            args = await socket.while_connected(await socket.ask(self.event, self.args))
            ms = round((time.perf_counter() - start) * 1000, 1)
            self.ack = False
            self._print({"ack": args, "ms": ms}, args)
            if args and isinstance(args[0], dict) and "error" in args[0]:
                return False
        else:
            await socket.emit(self.event, self.args)
        if self.left:
            await socket.while_connected(self.heard.wait())
        return True

    def missing(self) -> str:
        """List the missing answers, to append to the reason."""
        ack = [f"the ack of {self.event}"] if self.ack else []
        events = [f"{self.left} more {' or '.join(self.listen)}"] if self.left else []
        return "; missing: " + " and ".join(ack + events) if ack or events else ""

    def _print(self, whole: dict[str, object], args: list[Value]) -> None:
        value = args[0] if len(args) == 1 else args or None
        click.echo(document(whole if self.whole else value))


@click.command("emit", short_help="Send one event from a script.")
@takes_target
@click.argument("event")
@click.argument("args", nargs=-1)
@click.option("--ack", is_flag=True, help="Ask for an ack and print it.")
@click.option("--listen", metavar="EVENT", multiple=True, help="Print this event; repeatable.")
@click.option(
    "--count", metavar="N", type=click.IntRange(1), help="How many to wait for; default 1."
)
@format_option(help='Print arguments alone, or {"event", "args"} and {"ack", "ms"}.')
@click.option("--json", "whole", is_flag=True, hidden=True, help="The same as --format json.")
def command(
    target: Target,
    timeout: float,
    event: str,
    args: tuple[str, ...],
    ack: bool,
    listen: tuple[str, ...],
    count: int | None,
    format: str,
    whole: bool,
) -> None:
    """Send EVENT with ARGS, and print the answers, one JSON document per line.

    ARGS are parsed as JSON if possible, otherwise they are text; @FILE sends a file's bytes. Put
    -- before arguments that begin with a dash. An ack or event is printed as its argument: null
    for none, an array for several. Bytes are {"$bytes": base64}.

    Exits with 0 if all requested answers have come, and with 1 if not, or if the ack is
    {"error": ...}. Errors go to stderr.
    """
    if count and not listen:
        raise click.UsageError("--count counts what --listen names: give both")
    left = (count or 1) if listen else 0
    values = [parse_argument(arg) for arg in args]
    emit = EmitRun(parse_event(event), values, ack, listen, left, whole or format == "json")
    raise SystemExit(not asyncio.run(_send(target, emit, timeout)))


async def _send(target: Target, emit: EmitRun, timeout: float) -> bool:
    try:
        async with connect(target, emit.on_event, timeout=timeout) as socket:
            click.echo(f"connected to {target.namespace} as {printable(socket.id)}", err=True)
            async with asyncio.timeout(timeout):
                return await emit.run(socket)
    except ConnectError as error:
        click.echo(connect_error(error), err=True)
    except Disconnected as error:
        click.echo(f"disconnected: {error.reason}{emit.missing()}", err=True)
    except TimeoutError:
        click.echo(f"time-out after {timeout:g} s{emit.missing()}", err=True)
    return False
