"""The daemon under the soak: its files, its log, its resources."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp

__all__ = ["CONFIG", "LIMITS", "ON_SLOW", "Daemon", "Held", "running"]

ROOT = Path(__file__).parents[2]

CONFIG = """\
server: {port: 0, ping_interval: 2s, ping_timeout: 2s}
admin: {socket: admin.sock}
reload: {quiet: 20ms, drain: 5s}
namespaces:
  /:
    connection_middleware: [plugin.enter]
    packet_middleware: [plugin.pass_on]
    routes:
      say: plugin.say
      later: plugin.later
      flood: plugin.flood
      block: plugin.block
      held: plugin.held
"""

LIMITS = """\
limits:
  send_buffer: 200KB
  on_slow: %s
  handlers: 400
  handlers_per_socket: 4
  connections_per_second: 100
  overload_after: 200ms
"""

ON_SLOW = ("disconnect", "drop_oldest", "drop_newest")

PLUGIN = """\
import asyncio
import gc
import time

VERSION = %d

async def enter(ctx, next):
    await next()

async def pass_on(ctx, next):
    await next()

async def say(ctx, number):
    return number

async def later(ctx, number):
    await asyncio.sleep(0.05)
    return number

async def flood(ctx):
    for _ in range(60):
        await ctx.socket.emit("drop", "x" * 100_000)

async def block(ctx):
    time.sleep(0.5)

async def held(ctx):
    gc.collect()
    timers = [each for each in gc.get_objects() if type(each).__name__ == "TimerHandle"]
    return len(asyncio.all_tasks()), sum(not each.cancelled() for each in timers)
"""

BROKEN = "async def say(ctx, number:\n"


@dataclass(frozen=True, slots=True)
class Held:
    """Resources of the daemon: bytes of memory, descriptors, sockets, asyncio tasks and timers."""

    memory: int
    descriptors: int
    sockets: int
    tasks: int = 0
    timers: int = 0


class Daemon:
    """A `sockgw run` in `folder`. `faults` are the lines of its log that need a look:
    errors that no broken save explains, and all tracebacks.
    """

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self.faults: list[str] = []
        self.lines = 0
        self.saves = 0
        self._folder = folder
        self._listens: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read())

    async def port(self) -> int:
        """The port it listens on. Raises `TimeoutError` if it does not listen."""
        async with asyncio.timeout(20):
            return int((await self._listens).rpartition(":")[2])

    def save(self) -> None:
        """Save the plugin by a rename, as an editor does; every fourth save is broken.

        Every fifth time the limits change as well.
        """
        self.saves += 1
        if self.saves % 5 == 0:
            config = CONFIG + LIMITS % ON_SLOW[self.saves // 5 % len(ON_SLOW)]
            draft = self._folder / ".gateway.yaml.new"
            draft.write_text(config)
            draft.replace(self._folder / "gateway.yaml")
        text = BROKEN if self.saves % 4 == 0 else PLUGIN % self.saves
        draft = self._folder / "plugins" / ".plugin.py.new"
        draft.write_text(text)
        draft.replace(self._folder / "plugins" / "plugin.py")

    async def metrics(self) -> dict[str, float]:
        """Values of `/metrics`, by name and labels."""
        unix = aiohttp.UnixConnector(str(self._folder / "admin.sock"))
        async with (
            aiohttp.ClientSession(connector=unix) as http,
            http.get("http://admin/metrics") as answer,
        ):
            text = await answer.text()
        found = re.findall(r"^(sockgw_[^ ]+) ([\d.e+]+)$", text, re.MULTILINE)
        return {name: float(value) for name, value in found}

    async def held(self, most: float = 20.0) -> Held:
        """Its resources once every client is gone, or after `most` seconds."""
        until = time.monotonic() + most
        while True:
            now = await self._held()
            await asyncio.sleep(1)
            if (now == await self._held() and not now.sockets) or time.monotonic() > until:
                tasks, timers = await self._inside()
                return replace(now, tasks=tasks, timers=timers)

    async def _inside(self) -> tuple[int, int]:
        """Counts of tasks and timers, as a plugin sees them."""
        url = f"http://127.0.0.1:{await self.port()}/socket.io/?EIO=4&transport=websocket"
        async with aiohttp.ClientSession() as http, http.ws_connect(url) as websocket:
            await websocket.send_str("40")
            while not (await websocket.receive_str(timeout=10)).startswith("40"):
                pass
            await websocket.send_str('420["held"]')
            while not (text := await websocket.receive_str(timeout=10)).startswith("430"):
                pass
        tasks, timers = json.loads(text[3:])
        return tasks, timers

    async def _held(self) -> Held:
        proc = Path(f"/proc/{self.process.pid}")
        rollup = (proc / "smaps_rollup").read_text()
        rss = re.search(r"^Rss: +(\d+) kB", rollup, re.MULTILINE)
        sockets = sum(
            int(value)
            for name, value in (await self.metrics()).items()
            if name.startswith("sockgw_sockets{")
        )
        return Held(int(rss[1]) * 1024 if rss else 0, len(os.listdir(proc / "fd")), sockets)

    async def ended(self) -> int | None:
        """Stop it; its exit code."""
        self.process.terminate()
        await self.process.wait()
        await self._reading
        return self.process.returncode

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.lines += 1
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:  # not the log: Python's own errors
                self.faults.append(line.decode(errors="replace").rstrip())
                continue
            message = entry["message"]
            if found := re.search(r"listening on (\S+)", message):
                self._listens.set_result(found[1])
            elif (
                "traceback" in entry
                or entry["logger"] in ("stderr", "py.warnings")
                or (entry["level"] == "error" and not message.startswith("reload failed"))
            ):
                self.faults.append(f"{message}\n{entry.get('traceback', '')}")


@asynccontextmanager
async def running(
    folder: Path, config: str = CONFIG, plugin: str = PLUGIN % 0
) -> AsyncIterator[Daemon]:
    """Run a daemon in an empty folder; `plugin` is plugins/plugin.py."""
    (folder / "plugins").mkdir(parents=True)
    (folder / "gateway.yaml").write_text(config)
    (folder / "plugins" / "plugin.py").write_text(plugin)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "run", str(folder / "gateway.yaml")),
        *("--log-format", "json"),
        cwd=ROOT,
        env={**os.environ, "XDG_STATE_HOME": str(folder / "state")},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    try:
        yield Daemon(process, folder)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
