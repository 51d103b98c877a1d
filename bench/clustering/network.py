"""Machines with a network of their own: namespaces of Linux, joined by a bridge.

The bench runs in a network and a process namespace that `enclose` makes, so nothing of it is left
when it ends, however it ends. The bridge is there, and each machine has a namespace of its own.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["HERE", "Machine", "enclose", "is_allowed", "machine", "network"]

PREFIX = "10.77.0"
HERE = f"{PREFIX}.254"
"""The address of the bench, its clients and its proxy."""

_MARK = "BENCH_CLUSTER_ENCLOSED"
_NOBODY = "02:00:00:00:de:ad"  # a hardware address that no machine has


def _unshare() -> list[str]:
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    own = ["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return ["unshare", *user, *own]


def is_allowed() -> bool:
    """True if this user may make namespaces, and has the programs for that."""
    if not all(map(shutil.which, ("unshare", "nsenter", "setpriv", "ip"))):
        return False
    tried = subprocess.run([*_unshare(), "true"], capture_output=True, check=False)
    return tried.returncode == 0


def enclose(module: str) -> None:
    """Run this module in namespaces of its own, with the same command line, and end as it does.

    Returns at once where that has been done.
    """
    if os.environ.get(_MARK) == "1":
        return
    dies_with_us = ("setpriv", "--pdeathsig", "KILL")
    command = [*dies_with_us, *_unshare(), sys.executable, "-m", module, *sys.argv[1:]]
    with tempfile.TemporaryDirectory() as folder:
        child = subprocess.Popen(command, env={**os.environ, _MARK: "1", "TMPDIR": folder})
        signal.signal(signal.SIGTERM, lambda number, frame: child.kill())
        while (code := child.poll()) is None:
            with suppress(KeyboardInterrupt):  # the child has had it, too
                child.wait()
    raise SystemExit(code if code >= 0 else 128 - code)


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of the network: its address, and the process that its namespace lives by."""

    address: str
    pid: int

    def command(self, *words: str | Path) -> tuple[str, ...]:
        """A command, as it is run there. The process is the program itself."""
        return ("nsenter", f"--net=/proc/{self.pid}/ns/net", *map(str, words))

    async def drop(self, *others: Machine) -> None:
        """Drop silently what goes from here to others, until `let`."""
        for other in others:
            lost = ("lladdr", _NOBODY, "dev", "eth0", "nud", "permanent")
            await self._ip("neigh", "replace", other.address, *lost)

    async def let(self, *others: Machine) -> None:
        """Let it through again."""
        for other in others:
            await self._ip("neigh", "del", other.address, "dev", "eth0")

    async def _ip(self, *words: str) -> None:
        await _run(*self.command("ip", *words))


@asynccontextmanager
async def network() -> AsyncIterator[None]:
    """Make the bridge, which is there until the block ends."""
    await _run("ip", "link", "set", "lo", "up")
    await _run("ip", "link", "add", "br0", "type", "bridge")
    try:
        await _run("ip", "address", "add", f"{HERE}/24", "dev", "br0")
        await _run("ip", "link", "set", "br0", "up")
        yield
    finally:
        await _run("ip", "link", "delete", "br0")


@asynccontextmanager
async def machine(number: int) -> AsyncIterator[Machine]:
    """Make a machine at the bridge, whose address ends in `number`, until the block ends."""
    address, cable = f"{PREFIX}.{number}", f"cable{number}"
    pipe = asyncio.subprocess.PIPE
    # The namespace is there once it has said so, and until its input ends, with us at the latest.
    holder = await asyncio.create_subprocess_exec(
        *("unshare", "--net", "sh", "-c", "echo there; read end"), stdin=pipe, stdout=pipe
    )
    try:
        assert holder.stdout is not None
        if not await holder.stdout.readline():
            raise RuntimeError("there is no namespace for a machine")
        made = Machine(address, holder.pid)
        peer = ("peer", "name", "eth0", "netns", str(holder.pid))
        await _run("ip", "link", "add", cable, "type", "veth", *peer)
        await _run("ip", "link", "set", cable, "master", "br0", "up")
        for words in (
            ("link", "set", "lo", "up"),
            ("address", "add", f"{address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
        ):
            await made._ip(*words)
        yield made
    finally:
        if holder.returncode is None:
            holder.kill()
        await holder.wait()


async def _run(*words: str) -> None:
    """Run a command. Raises `RuntimeError` with its words if it fails."""
    done = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.PIPE)
    _, told = await done.communicate()
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {told.decode().strip()}")
