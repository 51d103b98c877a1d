"""Upgrade a gateway again and again under load: `python -m bench.upgrades`.

Stock clients call, and others connect, without end, while one process takes over from another.
Exits with 1 if an attempt to connect failed, or a call was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import msgspec

from bench.flooding.tables import markdown
from bench.scaling.gateway import gateway
from gateway.client.admin import AdminClient
from tests.js.install import HERE, NODE, install

__all__ = ["Calls", "main", "upgraded"]

PROGRAM = Path(__file__).with_name("scaling") / "upgrades.js"
PATIENCE = 60.0
"""Seconds that a former process has to let its clients go."""


class Calls(msgspec.Struct, frozen=True):
    """The clients' side.

    `retried` and `failed` are calls of clients with the option `retries`; `acked`, `told` and
    `lost` those of clients without: acked, not acked but followed by a disconnect, or neither.
    `connected` attempts to connect went well, `refused` ones had a `connect_error`, `late` ones
    hung; `longest` is in milliseconds. `moved` clients have connected to the next process at least
    once.
    """

    clients: int
    calls: int
    acked: int
    retried: int
    failed: int
    told: int
    lost: int
    connected: int
    refused: int
    late: int
    longest: int
    moved: int

    @property
    def is_clean(self) -> bool:
        return not (self.failed or self.lost or self.refused or self.late)


@dataclass(frozen=True, slots=True)
class Upgrades:
    """What became of calls while the program was replaced `len(seconds)` times.

    `seconds` are those until each successor was ready, `left` those until the former one had ended.
    """

    workers: int
    seconds: list[float]
    left: list[float]
    calls: Calls


@asynccontextmanager
async def _calling(url: str, clients: int) -> AsyncIterator[asyncio.subprocess.Process]:
    install()
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        NODE, PROGRAM, HERE, url, str(clients), stdin=pipe, stdout=pipe
    )
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def upgraded(workers: int, clients: int, times: int, folder: Path) -> Upgrades:
    """Upgrade a gateway so many times while clients call and connect."""
    seconds, left = [], []
    async with (
        gateway(folder, workers) as (daemon, port),
        _calling(f"http://127.0.0.1:{port}", clients) as calling,
    ):
        pid = daemon.pid
        try:
            for _ in range(times):
                successor = await daemon.admin.upgrade()
                began = monotonic()
                await _ended(pid)
                seconds.append(successor.seconds)
                left.append(monotonic() - began)
                pid = successor.pid
                await asyncio.sleep(1.0)  # clients call it a while
            assert calling.stdin is not None
            assert calling.stdout is not None
            calling.stdin.write(b"stop\n")
            calls = msgspec.json.decode(await calling.stdout.readline(), type=Calls)
        finally:
            if pid != daemon.pid:
                await _stop(daemon.admin)
    return Upgrades(workers, seconds, left, calls)


async def _ended(pid: int) -> None:
    end = monotonic() + PATIENCE
    while _runs(pid):
        if monotonic() > end:
            raise TimeoutError(f"process {pid} does not end")
        await asyncio.sleep(0.02)


def _runs(pid: int) -> bool:
    with suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] != "Z"
    return False


async def _stop(admin: AdminClient) -> None:
    pid = int((await admin.status())["pid"])
    os.kill(pid, signal.SIGTERM)
    await _ended(pid)


def table(found: list[Upgrades]) -> str:
    """What became of calls and of attempts to connect."""
    rows = [
        (
            f"{each.workers}",
            f"{len(each.seconds)}",
            f"{max(each.seconds):.1f} s",
            f"{max(each.left):.1f} s",
            f"{each.calls.connected:,}, {each.calls.refused + each.calls.late}",
            f"{each.calls.longest} ms",
            f"{each.calls.retried:,}, {each.calls.failed}",
            f"{each.calls.acked:,}, {each.calls.told}, {each.calls.lost}",
        )
        for each in found
    ]
    head = ("workers", "upgrades", "ready within", "clients gone within", "connected, failed")
    calls = ("longest attempt", "calls with `retries`: acked, lost", "without: acked, told, lost")
    return markdown((*head, *calls), rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10, help="upgrades of each gateway")
    parser.add_argument("--clients", type=int, default=300)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    found = []
    for workers in options.workers:
        with tempfile.TemporaryDirectory() as folder:
            work = upgraded(workers, options.clients, options.times, Path(folder))
            found.append(asyncio.run(work))
    print(table(found))
    return 0 if all(each.calls.is_clean for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())
