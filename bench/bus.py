"""Measure what a message over the bus costs: `python -m bench.bus`.

CPU time of the side that sends and of the side that receives, each a process, by engine, beside
plain clients of redis-py and nats-py in the same run. Nothing is timed by the clock, so other
processes show little.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from bench.buses.sides import SENDS, SIDES, TAKES, encoded
from bench.flooding.tables import markdown
from bench.processes import cpu
from bench.results import write_json
from tests.programs.nats import PROGRAM as NATS
from tests.programs.nats import Nats
from tests.programs.redis import PROGRAM as REDIS
from tests.programs.redis import Redis
from tests.programs.servers import Server

__all__ = ["main"]

ROOT = Path(__file__).parents[1]

BATCH = 64
"""Messages in one write."""

PAUSES = {1: 0.0, BATCH: 0.002}
"""Seconds after each write, by the number of messages in it: 0 is one turn of the loop."""

PARTS = 20_000

RESEARCHED = {
    "connection": (11.5, 0.7, 3.5, 0.6),
    "redis-py": (88.0, 18.0, 38.0, 11.0),
    "nats-py": (11.8, 1.9, 7.5, 4.7),
}
"""Figures that were measured before any of this was written, with scripts apart."""

NAMES = {
    "connection": "connection to Redis, nothing else",
    "redis": "Redis, engine",
    "redis, whole": "Redis, whole",
    "nats": "NATS, engine",
    "nats, whole": "NATS, whole",
    "local": "workers, engine",
    "local, whole": "workers, whole",
}

AGAINST = (("redis-py", "redis"), ("nats-py", "nats"))


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of CPU time for each message, sent so many in one write.

    `broker` is that of Redis or NATS, 0 between workers.
    """

    side: str
    batch: int
    send: float
    receive: float
    broker: float


@dataclass(slots=True)
class Found:
    """Everything measured, with the size of a message; `parts` are microseconds."""

    bytes: int
    costs: list[Cost] = field(default_factory=list)
    parts: dict[str, float] = field(default_factory=dict)

    def of(self, side: str, batch: int, figure: str) -> float:
        """The least of a figure: what else the machine does only ever adds to it."""
        return min(getattr(c, figure) for c in self.costs if (c.side, c.batch) == (side, batch))


def main() -> None:
    """Measure, print tables, write JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.bus", description=__doc__)
    parser.add_argument("--messages", type=int, default=1500, help="that are sent one at a time")
    parser.add_argument("--rounds", type=int, default=5, help="the least of them counts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="for everything measured")
    options = parser.parse_args()
    REDIS.install()
    NATS.install()
    found = Found(len(encoded(SENDS)))
    asyncio.run(_measure(found, options.messages, options.rounds))
    print("\n\n".join(_texts(found)))
    if options.json:
        write_json(options.json, found)


async def _measure(found: Found, messages: int, rounds: int) -> None:
    counts = {1: messages, BATCH: 8 * messages // BATCH * BATCH}
    for _ in range(rounds):
        for name in SIDES:
            async with _broker(name) as (broker, where), _pair(name, where) as (sender, receiver):
                await _cost(name, 1, max(1, messages // 10), broker, sender, receiver)  # warms up
                for batch, count in counts.items():
                    cost = await _cost(name, batch, count, broker, sender, receiver)
                    found.costs.append(cost)
                    print(cost, file=sys.stderr, flush=True)
    sums: defaultdict[str, list[float]] = defaultdict(list)
    async with _broker("redis") as (_, where), _pair("connection", where) as (_, receiver):
        for _ in range(rounds):
            for name, seconds in (await receiver.ask(f"parts {PARTS}")).items():
                sums[name].append(seconds / PARTS * 1e6)
    found.parts = {name: min(each) for name, each in sums.items()}


async def _cost(
    name: str, batch: int, count: int, broker: int | None, sender: Process, receiver: Process
) -> Cost:
    await receiver.order(f"receive {count}")
    assert await receiver.answer() == b"ready\n"
    before = cpu([broker]) if broker else 0.0
    await sender.order(f"send {count} {batch} {PAUSES[batch]}")
    received = orjson.loads(await receiver.answer())
    sent = orjson.loads(await sender.answer())
    brokered = cpu([broker]) - before if broker else 0.0
    return Cost(name, batch, *(each / count * 1e6 for each in (sent, received, brokered)))


class Process:
    """A side in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.pid, self._input, self._output = process.pid, process.stdin, process.stdout

    async def order(self, line: str) -> None:
        self._input.write(f"{line}\n".encode())
        await self._input.drain()

    async def answer(self) -> bytes:
        """The next line. Raises `ConnectionError` if the process has ended."""
        if line := await self._output.readline():
            return line
        raise ConnectionResetError("a side has ended")

    async def ask(self, line: str) -> dict[str, float]:
        await self.order(line)
        found: dict[str, float] = orjson.loads(await self.answer())
        return found


@asynccontextmanager
async def _broker(name: str) -> AsyncIterator[tuple[int | None, str]]:
    """The process of the broker that a way needs, and its port."""
    if name.startswith("local"):
        yield None, ""
        return
    server: Server = Nats() if name.startswith("nats") else Redis()
    await server.start()
    try:
        yield server.pid, str(server.port)
    finally:
        await server.kill()


@asynccontextmanager
async def _pair(name: str, where: str) -> AsyncIterator[tuple[Process, Process]]:
    """The two sides of a way."""
    ends: Sequence[tuple[socket.socket, socket.socket]] = ()
    if not where:
        kinds = (socket.SOCK_STREAM, socket.SOCK_SEQPACKET)
        ends = [socket.socketpair(socket.AF_UNIX, kind) for kind in kinds]
    processes = []
    try:
        for at, tag in enumerate((SENDS, TAKES)):
            fds = [each[at].fileno() for each in ends]
            place = where or ",".join(map(str, fds))
            processes.append(await _started(name, tag, place, fds))
        sender, receiver = map(Process, processes)
        assert [await each.answer() for each in (sender, receiver)] == [b"\n"] * 2
        yield sender, receiver
    finally:
        for each in processes:
            each.kill()
            await each.wait()
        for end in (end for pair in ends for end in pair):
            end.close()


async def _started(
    name: str, tag: str, where: str, fds: Sequence[int]
) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "bench.buses.side", name, tag, where]
    return await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdin=pipe, stdout=pipe, pass_fds=fds
    )


def _texts(found: Found) -> Iterator[str]:
    yield f"A message has {found.bytes} bytes."
    columns = [(figure, batch) for figure in ("send", "receive", "broker") for batch in PAUSES]
    titles = [f"{figure}, {'one' if batch == 1 else batch}" for figure, batch in columns]
    rows = [
        (
            NAMES.get(side, side),
            *(f"{found.of(side, batch, figure):.1f}" for figure, batch in columns),
        )
        for side in SIDES
    ]
    yield markdown(("us of CPU a message", *titles), rows)
    ratios = [
        (
            f"{other} to our engine",
            *(f"{found.of(other, b, f) / found.of(ours, b, f):.1f}" for f, b in columns),
        )
        for other, ours in AGAINST
    ]
    yield markdown(("times", *titles), ratios)
    researched = [
        (NAMES.get(side, side), *(f"{each:.1f}" for each in figures))
        for side, figures in RESEARCHED.items()
    ]
    yield markdown(("measured apart, earlier", *titles[:4]), researched)
    yield markdown(("part", "us"), [(name, f"{us:.2f}") for name, us in found.parts.items()])
    yield f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
