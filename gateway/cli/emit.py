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

GRACE = 0.5
"""Seconds to wait for an error when nothing else is waited for; half of a shorter --timeout."""


@dataclass(slots=True)
class EmitRun:
    """One `sockgw emit`: the event to send, and the answers it still waits for.

    `ack` is true while the ack is missing, false if none is asked for; of `None`, only an error in
    it is of interest, for `grace` seconds. `left` counts the missing events named in `listen`.
    """

    event: str
    args: list[Value]
    ack: bool | None
    listen: tuple[str, ...]
    left: int
    whole: bool
    grace: float
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
            if _refusal(args):
                return False
        elif self.ack is None:
            if refusal := await self._refusal(socket):
                click.echo(_told(refusal["error"]), err=True)
                return False
        else:
            await socket.emit(self.event, self.args)
        if self.left:
            await socket.while_connected(self.heard.wait())
        return True

    async def _refusal(self, socket: ClientSocket) -> dict[str, Value] | None:
        """Send, and return what the ack is if it is an error and comes in time, else `None`.

        Not every server answers every event, and this one may disconnect whoever sends it.
        """
        ack = await socket.ask(self.event, self.args)
        heard = asyncio.ensure_future(self.heard.wait())
        waiting = asyncio.wait(
            (ack, heard),
            timeout=None if self.left else self.grace,
            return_when=asyncio.FIRST_COMPLETED,
        )
        try:
            await socket.while_connected(waiting)
        except Disconnected as error:
            if self.left or error.reason != "io server disconnect":
                raise
        finally:
            heard.cancel()
        return _refusal(ack.result()) if ack.done() else None

    def missing(self) -> str:
        """List the missing answers, to append to the reason."""
        ack = [f"the ack of {self.event}"] if self.ack else []
        events = [f"{self.left} more {' or '.join(self.listen)}"] if self.left else []
        return "; missing: " + " and ".join(ack + events) if ack or events else ""

    def _print(self, whole: dict[str, object], args: list[Value]) -> None:
        value = args[0] if len(args) == 1 else args or None
        click.echo(document(whole if self.whole else value))


def _refusal(ack: list[Value]) -> dict[str, Value] | None:
    """Return the argument of an ack that is `{"error": ...}`, else `None`."""
    return ack[0] if ack and isinstance(ack[0], dict) and "error" in ack[0] else None


def _told(error: object) -> str:
    """Format an error on one line: its code, its message, and its data if it has any."""
    match error:
        case {"code": str(code), "message": str(message), **rest}:
            data = f" {document(rest['data'])}" if "data" in rest else ""
            return printable(f"{code}: {message}") + data
    return f"error: {document(error)}"


@click.command("emit", short_help="Send one event from a script.")
@takes_target
@click.argument("event")
@click.argument("args", nargs=-1)
@click.option(
    "--ack/--no-ack", default=None, help="Print the ack, or ask for none. Default: print an error."
)
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
    ack: bool | None,
    listen: tuple[str, ...],
    count: int | None,
    format: str,
    whole: bool,
) -> None:
    """Send EVENT with ARGS, and print the answers, one JSON document per line.

    ARGS are parsed as JSON if possible, otherwise they are text; @FILE sends a file's bytes. Put
    -- before arguments that begin with a dash. An ack or event is printed as its argument: null
    for none, an array for several. Bytes are {"$bytes": base64}.

    Without --ack it still asks for an ack, and waits up to 0.5 s to see whether it is an error:
    there may be no route for EVENT. With --no-ack or --listen error it asks for none.

    Exits with 0 if all requested answers have come, and with 1 if not, or if the ack is
    {"error": ...}. Errors go to stderr.
    """
    if count and not listen:
        raise click.UsageError("--count counts what --listen names: give both")
    left = (count or 1) if listen else 0
    if ack is None and "error" in listen:
        ack = False
    values = [parse_argument(arg) for arg in args]
    is_whole, grace = whole or format == "json", min(GRACE, timeout / 2)
    emit = EmitRun(parse_event(event), values, ack, listen, left, is_whole, grace)
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
