"""`sockgw client`: talks to a server, at a prompt or from a pipe."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import Never

import click
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.patch_stdout import patch_stdout

from gateway.api import Value
from gateway.cli.line import packet, parse_line, printable, word
from gateway.cli.target import connect_error, takes_target
from gateway.client.socket import ClientSocket, ConnectError, Disconnected, Target, connect

__all__ = ["command"]

HELP = """\
  EVENT [ARGS...]   send an event and show its ack when it comes
  !EVENT [ARGS...]  send it without asking for an ack
  help              show this help
  exit              quit; so do Ctrl-D and Ctrl-C

Arguments are parsed as JSON if possible, otherwise they are text; @FILE sends a file's bytes:
  chat "hello world!"     sum 1 2     say {"a": 1}     say hello     upload @photo.png"""

LONGEST_DELAY = 5.0
"""Longest wait between two attempts to reconnect, in seconds."""


class ClientShell:
    """The conversation with a server, whether lines come from a prompt or from a pipe.

    `names` are the events seen and sent; `failed` is true once a line has failed.
    """

    def __init__(self, target: Target, timeout: float) -> None:
        self.names: set[str] = set()
        self.failed = False
        self.connected = asyncio.Event()
        self._target = target
        self._timeout = timeout
        self._socket: ClientSocket | None = None
        self._asked: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[ClientSocket]:
        """Connect for the length of the block. Raises `ConnectError`."""
        async with connect(self._target, self._received, timeout=self._timeout) as socket:
            name = self._target.namespace
            who = printable(socket.id)
            _say("connected", "magenta", f"to {name} as {who} by {socket.transport}")
            self._socket = socket
            self.connected.set()
            try:
                yield socket
            finally:
                self._socket = None

    async def stay(self) -> Never:
        """Stay connected, reconnecting when needed.

        Raises `ConnectError` if the first attempt fails or the server refuses a later one, and
        `Disconnected` if the server ended the socket, where the JavaScript client does not
        reconnect either.
        """
        attempt = 0
        while True:
            try:
                async with self.connection() as socket:
                    attempt = 0
                    reason = await socket.gone()
            except ConnectError as error:
                if error.refused or not self.connected.is_set():
                    raise
                _say(connect_error(error), "red")
            else:
                if reason == "io server disconnect":
                    raise Disconnected(reason)
                _say(f"disconnected: {reason}", "red")
            delay = min(2.0**attempt, LONGEST_DELAY)
            attempt += 1
            _say(f"reconnecting in {delay:g} s", "magenta")
            await asyncio.sleep(delay)

    async def run_line(self, line: str) -> bool:
        """Run one line; false if it says to quit."""
        match line.strip():
            case "":
                pass
            case "exit":
                return False
            case "help":
                click.echo(HELP)
            case command:
                try:
                    await self._send(command)
                except click.UsageError as error:
                    self.failed = True
                    _say(f"not sent: {error.message}", "red")
        return True

    async def settle(self) -> None:
        """Wait for the missing acks, for up to the time-out."""
        if self._asked:
            _, late = await asyncio.wait(self._asked, timeout=self._timeout)
            for task in late:
                self._no_ack(task.get_name(), f" within {self._timeout:g} s")
        self.hang_up()

    def hang_up(self) -> None:
        """Stop waiting for acks."""
        for task in self._asked:
            task.cancel()

    async def _send(self, line: str) -> None:
        event, args = parse_line(line.removeprefix("!"))
        if self._socket is None:
            raise click.UsageError("not connected")
        self.names.add(event)
        _say("->", "cyan", packet(event, args))
        if line.startswith("!"):
            await self._socket.emit(event, args)
            return
        start = time.perf_counter()
        ack = self._socket.while_connected(await self._socket.ask(event, args))
        task = asyncio.create_task(self._await(ack, event, start), name=event)
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def _await(self, ack: Awaitable[list[Value]], event: str, start: float) -> None:
        try:
            args = await ack
        except Disconnected as error:
            self._no_ack(event, f": {error.reason}")
        else:
            took = click.style(f" {(time.perf_counter() - start) * 1000:.1f} ms", dim=True)
            _say("ack", "yellow", packet(event, args) + took)

    def _no_ack(self, event: str, why: str) -> None:
        self.failed = True
        _say(f"no ack of {word(event)}{why}", "red")

    def _received(self, event: str, args: list[Value]) -> None:
        self.names.add(event)
        _say("<-", "green", packet(event, args))


class Names(Completer):
    """Completes the name of an event at the beginning of a line."""

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterator[Completion]:
        typed = document.text_before_cursor.removeprefix("!")
        for name in sorted(map(word, self._names)):
            if name.startswith(typed):
                yield Completion(name, -len(typed))


async def _prompt(shell: ClientShell) -> None:
    async def read() -> None:
        await shell.connected.wait()
        session: PromptSession[str] = PromptSession(
            history=_history(),
            completer=Names(shell.names),
            complete_while_typing=False,
            erase_when_done=True,  # sent events are printed separately
        )
        with suppress(EOFError, KeyboardInterrupt):
            while await shell.run_line(await session.prompt_async("> ")):
                pass

    tasks = {asyncio.create_task(read()), asyncio.create_task(shell.stay())}
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    shell.hang_up()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _pipe(shell: ClientShell) -> None:
    lines = _stdin(asyncio.get_running_loop())
    async with shell.connection() as socket:
        while (line := await socket.while_connected(lines.get())) is not None:
            if not await shell.run_line(line):
                break
        await shell.settle()


def _stdin(loop: asyncio.AbstractEventLoop) -> asyncio.Queue[str | None]:
    """Read the lines of standard input into a queue, then `None`.

    In a separate thread, because a loop cannot wait for a file. Not from sys.stdin, because a
    thread that is still reading would hold its lock when the interpreter exits.
    """
    queue: asyncio.Queue[str | None] = asyncio.Queue()

    def read() -> None:
        with (
            suppress(RuntimeError),  # the loop has ended before the input
            open(sys.stdin.fileno(), encoding="utf-8", errors="replace", closefd=False) as lines,
        ):
            for line in lines:
                loop.call_soon_threadsafe(queue.put_nowait, line)
            loop.call_soon_threadsafe(queue.put_nowait, None)

    threading.Thread(target=read, daemon=True).start()
    return queue


def _history() -> History:
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    file = Path(home, "sockgw", "client_history")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.chmod(0o600)  # if it existed before
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(file))


def _say(mark: str, color: str, text: str = "") -> None:
    clock = click.style(datetime.now().strftime("%H:%M:%S.%f")[:-3], dim=True)
    line = f"{clock} {click.style(mark, fg=color)} {text}".rstrip()
    click.echo(line)


@click.command("client", short_help="Talk to a server at a prompt.")
@takes_target
def command(target: Target, timeout: float) -> None:
    """Connect to URL, send what you type and show what arrives.

    \b
    EVENT [ARGS...]   send an event and show its ack when it comes
    !EVENT [ARGS...]  send it without asking for an ack
    help, exit        show help, quit

    If input is not a terminal, its lines are sent one after the other. Then the command waits for
    the acks and ends, with 1 if a line failed.
    """
    shell = ClientShell(target, timeout)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    try:
        # Output appears above the line that is being typed.
        with patch_stdout(raw=True) if terminal else nullcontext():
            asyncio.run(_prompt(shell) if terminal else _pipe(shell))
    except KeyboardInterrupt:
        return
    except ConnectError as error:
        click.echo(connect_error(error), err=True)
        raise SystemExit(1) from None
    except Disconnected as error:
        click.echo(f"disconnected: {error.reason}", err=True)
        raise SystemExit(1) from None
    raise SystemExit(shell.failed and not terminal)
