"""A daemon that may open few files: clients cannot take those that it needs for itself."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.deadline import deadline, until
from tests.engineio.echo_server import connected
from tests.gateway_files import write
from tests.raw_client import raw

CONFIG = """
reload: {poll_interval: 200ms}
namespaces:
  /:
    routes: {hold: chat.hold, free: chat.free}
"""

PLUGIN = """
import os

held = []

async def hold(ctx):
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        return os.strerror(error.errno)

async def free(ctx):
    while held:
        os.close(held.pop())
"""

SOFT, HARD = 100, 200
ROOM = HARD - 64
HALF = "GET / HTTP/1.1\nHo"


class Few:
    """A daemon with few descriptors; `lines` is its output so far."""

    def __init__(self, process: Process, folder: Path) -> None:
        self.process, self.folder = process, folder
        self.lines: list[str] = []

    async def line(self, pattern: str) -> re.Match[str]:
        """The next line that the pattern is found in."""
        assert self.process.stdout is not None
        async with deadline():
            while line := (await self.process.stdout.readline()).decode():
                self.lines.append(line)
                if found := re.search(pattern, line):
                    return found
        raise AssertionError("".join(self.lines))

    def edit(self) -> None:
        """Change the plugin, in its last line."""
        with (self.folder / "plugins/chat.py").open("a") as plugin:
            plugin.write("#\n")


@asynccontextmanager
async def few(folder: Path, limits: str = "") -> AsyncIterator[tuple[Few, str]]:
    """A daemon that may have `HARD` descriptors, and its URL."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "run", str(write(folder, CONFIG + limits, chat=PLUGIN))),
        *("--port", "0"),
        stdout=PIPE,
        stderr=STDOUT,
        env={**os.environ, "XDG_STATE_HOME": str(folder / "state"), "NO_COLOR": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, HARD)),
    )
    running = Few(process, folder)
    try:
        yield running, (await running.line(r"(http://\S+)"))[1]
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.communicate()


@pytest.mark.parametrize(
    ("limits", "level", "connections"),
    [
        ("limits: {sockets: 100}\n", "WARNING", 1200),
        ("limits: {connections: 500}\n", "WARNING", 500),
    ],
)
async def test_the_limit_is_raised_and_told_when_it_is_too_low(
    tmp_path: Path, limits: str, level: str, connections: int
) -> None:
    async with few(tmp_path, limits) as (daemon, _):
        line = next(line for line in daemon.lines if "the limit of file descriptors" in line)
        assert line.partition(level)[2].strip() == (
            f"the limit of file descriptors has room for {ROOM} connections, limits.connections "
            f"is {connections}: raise it with ulimit -n, or LimitNOFILE= of systemd"
        )


async def test_a_reload_works_while_clients_hold_all_connections(tmp_path: Path) -> None:
    async with few(tmp_path) as (daemon, url), AsyncExitStack() as stack:
        port = int(url.rpartition(":")[2])
        wires = [await stack.enter_async_context(connected(port, HALF)) for _ in range(HARD + 100)]
        await daemon.line(
            "limit connections by 127.0.0.1: a new connection was closed: none is idle: to allow "
            "it, raise the limit of file descriptors with ulimit -n, or LimitNOFILE= of systemd"
        )
        ends = [asyncio.create_task(reader.read()) for reader, _ in wires]
        await until(lambda: sum(each.done() for each in ends) == len(wires) - ROOM)
        daemon.edit()
        await daemon.line("generation 2 serves")
        for each in ends:
            each.cancel()
        await asyncio.wait(ends)
        assert "Traceback" not in "".join(daemon.lines)


async def test_without_a_descriptor_nothing_changes_and_one_line_says_why(tmp_path: Path) -> None:
    """A plugin takes the last ones; a save is picked up once they are back."""
    async with few(tmp_path) as (daemon, url), raw(url) as client:
        await client.join()
        await client.send('420["hold"]')
        assert await client.receive() == '430["Too many open files"]'
        daemon.edit()
        await daemon.line(r"cannot look at it: Too many open files; what is served stays")
        daemon.process.send_signal(signal.SIGHUP)
        await daemon.line("reload failed, generation 1 stays")
        await daemon.line(r"gateway\.yaml:1:1: cannot read '.*gateway\.yaml': too many open files")
        await client.send('421["free"]')
        assert await client.receive() == "431[]"
        await daemon.line("generation 2 serves")
        output = "".join(daemon.lines)
        assert output.count("cannot look at it") == 1
        assert "Traceback" not in output
        assert "a fault in the gateway itself" not in output
