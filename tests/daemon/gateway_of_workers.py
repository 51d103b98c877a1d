"""A gateway with workers, in processes of its own, and what tests do to them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from tests.deadline import deadline, until
from tests.gateway_files import write
from tests.ports import free_port
from tests.reload.calling_client import Caller, caller

__all__ = [
    "GatewayOfWorkers",
    "alive",
    "edit",
    "files",
    "one_on_each",
    "run_workers",
    "until_true",
]

CONFIG = """
server: {{port: {port}, workers: {workers}, transports: [websocket], stop_timeout: 5s}}
admin: {{port: {admin}}}
reload: {{quiet: 20ms, poll_interval: 1h, watch: "off"}}
limits: {{overload_after: {overload_after}}}
namespaces: {{/: {{routes: {{pid: own.pid, stuck: own.stuck, version: own.version}}}}}}
"""
OWN = """
import os, time

async def pid(ctx):
    return os.getpid()

async def stuck(ctx):
    time.sleep(1000)

async def version(ctx):
    return "one"
"""


def files(folder: Path, workers: int = 2, overload_after: str = "unlimited") -> Path:
    """Write a gateway with so many workers, whose events are `pid`, `stuck` and `version`."""
    config = CONFIG.format(
        port=free_port(), admin=free_port(), workers=workers, overload_after=overload_after
    )
    return write(folder, config, own=OWN)


class GatewayOfWorkers:
    """A supervisor that runs, and what it and its workers have logged so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self.url = self.admin = ""
        self._came = asyncio.Condition()

    @property
    def pid(self) -> int:
        return self.process.pid

    async def read(self) -> None:
        """Read the log to its end."""
        assert self.process.stdout is not None
        while line := (await self.process.stdout.readline()).decode():
            async with self._came:
                self.lines.append(line.rstrip("\n"))
                self._came.notify_all()

    async def logs(self, text: str) -> str:
        """Wait for a line with this text; gives the first."""
        async with deadline(), self._came:
            await self._came.wait_for(lambda: any(text in line for line in self.lines))
        return next(line for line in self.lines if text in line)

    async def status(self) -> dict[str, Any]:
        async with aiohttp.ClientSession() as http, http.get(f"{self.admin}/-/status") as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def workers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.status())["workers"]
        return found

    async def metrics(self) -> str:
        async with aiohttp.ClientSession() as http, http.get(f"{self.admin}/metrics") as answer:
            return await answer.text()

    async def reload(self) -> dict[str, Any]:
        """Reload; gives the verdict."""
        async with aiohttp.ClientSession() as http, http.post(f"{self.admin}/-/reload") as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def all_serve(self, *but: int) -> list[dict[str, Any]]:
        """Wait until all workers serve, none in a process of `but`; gives their status."""
        found: list[dict[str, Any]] = []

        async def do_serve() -> bool:
            found[:] = await self.workers()
            return all(each["state"] == "serving" and each["pid"] not in but for each in found)

        await until_true(do_serve)
        return found

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End the supervisor by a signal; gives its exit code."""
        self.process.send_signal(how)
        return await self.stopped()

    async def stopped(self) -> int:
        """Wait for the end of the supervisor; gives its exit code."""
        # wait() would also wait for what inherited its output
        await until(lambda: self.process.returncode is not None)
        assert self.process.returncode is not None
        return self.process.returncode

    def processes(self) -> set[int]:
        """The pids of its processes that were forked, and of those forked by them."""
        found, more = set[int](), {self.pid}
        while more:
            found |= more
            more = {child for pid in more for child in _children(pid)} - found
        return found - {self.pid}

    def session(self) -> set[int]:
        """The pids of all its processes that run, whoever their parents are by now."""
        pids = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]
        return alive({pid for pid in pids if _stat(pid)[3:4] == [str(self.pid)]})

    def zygote(self) -> int:
        """The pid of the zygote."""
        (found,) = _children(self.pid)
        return found


def edit(file: Path, former: str, new: str) -> None:
    """Replace the first of a text in a file."""
    file.write_text(file.read_text().replace(former, new, 1))


async def one_on_each(stack: AsyncExitStack, gateway: GatewayOfWorkers) -> dict[int, Caller]:
    """Connect until every worker has a client; gives one of each, by the worker's pid."""
    found: dict[int, Caller] = {}
    pids = {each["pid"] for each in await gateway.workers()}
    async with deadline():
        while set(found) < pids:
            client = await stack.enter_async_context(caller(gateway.url))
            (pid,) = await client.call("pid")
            found.setdefault(pid, client)
    return found


def _children(pid: int) -> set[int]:
    found: set[int] = set()
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found |= set(map(int, (thread / "children").read_text().split()))
    return found


def alive(pids: set[int]) -> set[int]:
    """Those of some processes that run."""
    return {pid for pid in pids if _stat(pid)[:1] not in ([], ["Z"], ["X"])}


def _stat(pid: int) -> list[str]:
    """What the system says of a process from its state on (proc_pid_stat(5)); empty if it has gone.

    The fourth is its session.
    """
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


async def until_true(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until an asynchronous condition holds that nothing reports."""
    async with deadline():
        while not await condition():  # noqa: ASYNC110 - it asks another process
            await asyncio.sleep(0.02)


@asynccontextmanager
async def run_workers(
    file: Path, *options: str, path: Path | None = None
) -> AsyncIterator[GatewayOfWorkers]:
    """Run a gateway until the block ends; it has begun to serve.

    Modules in the folder `path` come before those that are installed.
    """
    first = {"PYTHONPATH": str(path)} if path else {}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-X", "dev", "-m", "gateway", "run", file, *options),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **first},
    )
    gateway = GatewayOfWorkers(process)
    reading = asyncio.create_task(gateway.read())
    processes: set[int] = set()
    try:
        gateway.admin = (await gateway.logs("  admin")).split()[0]
        gateway.url = (await gateway.logs("websocket")).split()[0]
        processes = gateway.processes()
        yield gateway
    finally:
        processes |= gateway.processes()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also one that has replaced it
        for pid in alive(processes):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await process.wait()
        await reading
        print(*gateway.lines, sep="\n")
