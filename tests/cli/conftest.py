"""A stock server to talk to, and the client commands as processes."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import socketio

from tests.deadline import deadline
from tests.slowness import without_slowness

ROOT = Path(__file__).parents[2]

Sockgw = Callable[..., Awaitable["Ended"]]
OpenTerminal = Callable[..., Awaitable["Terminal"]]

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[ -/]*[0-~])")


class ChatServer:
    """A stock server that greets in `/chat` and lets nobody into `/closed`.

    `received` is what was sent to it, `environ` and `auth` come from the newest connection.
    """

    def __init__(self) -> None:
        self.received: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        self.environ: dict[str, Any] = {}
        self.auth: object = None
        self.sio = socketio.AsyncServer(
            async_mode="aiohttp", monitor_clients=False, namespaces=["/", "/chat", "/closed"]
        )
        self.sio.on("connect", self._refuse, namespace="/closed")
        for namespace in ("/", "/chat"):
            self.sio.on("connect", self._greet, namespace=namespace)
            self.sio.on("*", self._receive, namespace=namespace)
            self.sio.on("kick", self._kick, namespace=namespace)
            self.sio.on("hang", self._hang, namespace=namespace)

    async def _refuse(self, sid: str, environ: object, auth: object) -> None:
        raise socketio.exceptions.ConnectionRefusedError("log in first", {"code": "unauthorized"})

    async def _greet(self, sid: str, environ: dict[str, Any], auth: object) -> None:
        self.environ, self.auth = environ, auth
        await self.sio.emit("res", "auth!", to=sid, namespace="/chat")

    async def _receive(self, event: str, sid: str, *args: Any) -> tuple[Any, ...]:
        """Answers `chat` with `res` and {"ok": true}, and anything else with its arguments."""
        self.received.put_nowait((event, *args))
        if event != "chat":
            return args
        await self.sio.emit("res", "Hello Man!!", to=sid, namespace="/chat")
        return ({"ok": True},)

    async def _kick(self, sid: str) -> None:
        for namespace in ("/", "/chat"):
            await self.sio.disconnect(sid, namespace=namespace)

    async def _hang(self, sid: str) -> None:
        await asyncio.Event().wait()


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that has ended: its exit code and what it has written."""

    status: int
    out: str
    err: str


@pytest.fixture
def server() -> ChatServer:
    return ChatServer()


@pytest.fixture
async def url(server: ChatServer, serve: Any) -> AsyncIterator[str]:
    async with serve(server.sio) as address:
        yield address


class Terminal:
    """A verb in a pseudo-terminal of 200 columns, as its user sees it: text without escapes."""

    def __init__(self, process: asyncio.subprocess.Process, screen: int) -> None:
        self.process = process
        self.written = b""
        self._screen = screen
        self._news = asyncio.Event()
        self._seen = 0
        asyncio.get_running_loop().add_reader(screen, self._read)

    @property
    def text(self) -> str:
        """Everything written so far."""
        return _ESCAPES.sub("", self.written.decode(errors="replace"))

    def type(self, keys: str) -> None:
        """Press keys; Return is `\\r`."""
        os.write(self._screen, keys.encode())

    async def shows(self, text: str) -> None:
        """Wait until `text` is written after what was waited for before."""
        try:
            async with deadline():
                while (at := self.text.find(text, self._seen)) < 0:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"no {text!r} in {self.text[self._seen :]!r}") from None
        self._seen = at + len(text)

    async def prompts(self) -> None:
        """Wait until a line can be typed."""
        await self.shows("\n>")

    async def ended(self) -> int:
        """Wait for the process's end; its exit code."""
        async with deadline():
            return await self.process.wait()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._screen)
        os.close(self._screen)

    def _read(self) -> None:
        try:
            self.written += os.read(self._screen, 65536)
        except OSError:  # nobody is left at the other end
            asyncio.get_running_loop().remove_reader(self._screen)
        self._news.set()


@pytest.fixture
def sockgw() -> Sockgw:
    """Runs a verb to its end: `await sockgw("emit", url, "chat", stdin="")`."""
    return _sockgw


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[OpenTerminal]:
    """Runs a verb in a terminal: `await terminal("client", url)`."""
    async with AsyncExitStack() as stack:

        async def start(verb: str, *args: str, **environment: str) -> Terminal:
            return await stack.enter_async_context(_terminal(tmp_path, verb, args, environment))

        yield start


@asynccontextmanager
async def _terminal(
    home: Path, verb: str, args: tuple[str, ...], environment: dict[str, str]
) -> AsyncIterator[Terminal]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
    # Nobody answers here when prompt_toolkit asks where the cursor is.
    defaults = {"TERM": "xterm", "XDG_STATE_HOME": str(home), "PROMPT_TOOLKIT_NO_CPR": "1"}
    process = await asyncio.create_subprocess_exec(
        *_command_line(verb, *args),
        cwd=ROOT,
        env={**os.environ, **defaults, **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    terminal = Terminal(process, ours)
    try:
        yield terminal
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        terminal.close()


def _command_line(verb: str, *args: str) -> list[str]:
    """What runs a verb in a process in which warnings are errors."""
    code = "from gateway.cli import main; main(prog_name='sockgw')"
    return [sys.executable, "-W", "error", "-X", "dev", "-c", code, verb, *args]


async def _sockgw(verb: str, *args: str, stdin: str = "") -> Ended:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *_command_line(verb, *args), cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe
    )
    out, err = await process.communicate(stdin.encode())
    return Ended(cast("int", process.returncode), out.decode(), without_slowness(err.decode()))
