"""The daemon that is measured: a process of its own, seen from outside."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp

from bench.processes import family, held
from gateway.client.admin import AdminClient

__all__ = ["Daemon", "Memory", "running"]

ROOT = Path(__file__).parents[2]
VERDICT = re.compile(r"generation \d+ serves after (\d+) ms|(reload failed)")

Memory = Mapping[str, int]
"""Bytes by `rss` and `pss`."""


class Daemon:
    """A `sockgw run`.

    `applied` are the milliseconds of each reload, as the daemon logs them, `errors` what it logs as
    errors.
    """

    def __init__(self, process: asyncio.subprocess.Process, admin: Path) -> None:
        self.admin = AdminClient(f"unix:{admin}")
        self._socket = str(admin)
        self.pid = process.pid
        self.applied: list[int] = []
        self.errors: list[str] = []
        self._stderr = process.stderr
        self._verdicts: asyncio.Queue[bool] = asyncio.Queue()
        self._listens: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read())

    async def listens(self) -> str:
        """Wait for the address it listens on. Raises `RuntimeError` when it has ended."""
        either: set[asyncio.Future[Any]] = {self._listens, self._reading}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self._listens.done():
            raise RuntimeError("the daemon did not start")
        return self._listens.result()

    def forget(self) -> None:
        """Drop the verdicts so far."""
        while not self._verdicts.empty():
            self._verdicts.get_nowait()

    async def verdict(self) -> bool:
        """Wait for the next verdict: true if the save is served. Raises `TimeoutError`."""
        async with asyncio.timeout(10):
            return await self._verdicts.get()

    def processes(self) -> list[int]:
        """Its process, and those that it has forked."""
        return family(self.pid)

    def memory(self) -> Memory:
        """The sums of all its processes."""
        rollups = [held(pid) for pid in self.processes()]
        return {name: sum(each[name] for each in rollups) for name in ("rss", "pss")}

    async def skew(self) -> list[float]:
        """The seconds between the first and the last worker's latest swap; none of one process."""
        return await self.metric("sockgw_reload_skew_seconds")

    async def metric(self, name: str) -> list[float]:
        """The values of a metric, one for each set of labels."""
        connector = aiohttp.UnixConnector(self._socket)
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.get("http://admin/metrics") as answer,
        ):
            found = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", await answer.text(), re.MULTILINE)
        return [float(each) for each in found]

    async def _read(self) -> None:
        assert self._stderr is not None
        while line := await self._stderr.readline():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:  # not the log: Python's own errors
                print(line.decode(), end="", file=sys.stderr)
                continue
            message = entry["message"]
            if found := re.search(r"listening on (\S+)", message):
                if not self._listens.done():  # one that has replaced it says so, too
                    self._listens.set_result(found[1])
            elif found := VERDICT.search(message):
                if found[1]:
                    self.applied.append(int(found[1]))
                self._verdicts.put_nowait(bool(found[1]))
            elif entry["level"] in ("warning", "error"):
                print(message, entry.get("traceback", ""), file=sys.stderr)
                if entry["level"] == "error":
                    self.errors.append(message)


@asynccontextmanager
async def running(
    file: Path,
    cores: set[int],
    environ: Mapping[str, str] = MappingProxyType({}),
    before: Sequence[str] = (),
) -> AsyncIterator[Daemon]:
    """Run a daemon on `cores`, with these variables in its environment.

    `before` is a command that runs the one after it, in the same process.
    """
    process = await asyncio.create_subprocess_exec(
        *(*before, sys.executable, "-m", "gateway", "run", str(file), "--log-format", "json"),
        cwd=ROOT,
        env={**os.environ, "XDG_STATE_HOME": str(file.parent / "state"), **environ},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    os.sched_setaffinity(process.pid, cores)
    try:
        daemon = Daemon(process, file.parent / "admin.sock")
        yield daemon
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
