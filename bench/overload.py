"""Call a gateway more often than it can answer: `python -m bench.overload`.

A handler burns half a millisecond of CPU. Clients call at a fixed rate, whether or not they were
answered, and latency counts from the time each call was due. New clients connect meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from bench.soaking.daemon import running

BURN = 0.0005
SHARES = (0.5, 1.0, 2.0, 3.0)
CLIENTS = 200
SETTLE = 10.0
"""Seconds after the last call in which answers still count."""

CONFIG = """\
server: {{port: 0}}
admin: {{socket: admin.sock}}
limits: {{overload_after: {after}, connections_per_second: unlimited}}
namespaces:
  /:
    routes: {{burn: plugin.burn}}
"""

PLUGIN = f"""\
import time

async def burn(ctx):
    until = time.perf_counter() + {BURN}
    while time.perf_counter() < until:
        pass
"""


@dataclass(slots=True)
class Outcome:
    """Counts of calls and connections; `seconds` are the latencies of answered calls."""

    asked: int = 0
    busy: int = 0
    seconds: list[float] = field(default_factory=list)
    tried: int = 0
    refused: int = 0

    @property
    def unanswered(self) -> int:
        return self.asked - self.busy - len(self.seconds)

    def part(self, share: float) -> float:
        """Milliseconds within which this share of the calls was answered."""
        ordered = sorted(self.seconds) or [0.0]
        return ordered[int(share * (len(ordered) - 1))] * 1000


class Client:
    """A socket that calls at a fixed rate."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse, outcome: Outcome) -> None:
        self._websocket = websocket
        self._outcome = outcome
        self._due: dict[int, float] = {}
        self.reading = asyncio.create_task(self._read())

    async def ask(self, rate: float, first: float, end: float) -> None:
        due, number = first, 0
        while due < end:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._due[number] = due
            self._outcome.asked += 1
            await self._websocket.send_str(f'42{number}["burn"]')
            number += 1
            due += 1 / rate

    async def _read(self) -> None:
        async for message in self._websocket:
            text = message.data
            if text == "2":
                await self._websocket.send_str("3")
            elif text.startswith("43"):
                number, bracket, data = text[2:].partition("[")
                due = self._due.pop(int(number))
                if bracket + data == "[]":
                    self._outcome.seconds.append(time.monotonic() - due)
                else:
                    assert json.loads(bracket + data)[0]["error"]["code"] == "busy", data
                    self._outcome.busy += 1


def main() -> None:
    """Measure with and without `overload_after`, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each load")
    parser.add_argument("--after", nargs="+", default=["250ms", "unlimited"])
    options = parser.parse_args()
    print("overload_after  offered/s  done/s  busy/s  unanswered   p50 ms   p99 ms  new refused")
    for after in options.after:
        for share in SHARES:
            rate = share / BURN
            done = asyncio.run(_measured(after, rate, options.seconds))
            print(
                f"{after:14} {rate:10,.0f} {len(done.seconds) / options.seconds:7,.0f}"
                f" {done.busy / options.seconds:7,.0f} {done.unanswered:11,}"
                f" {done.part(0.5):8,.0f} {done.part(0.99):8,.0f}"
                f"  {done.refused} of {done.tried}"
            )


async def _measured(after: str, rate: float, seconds: float) -> Outcome:
    config = CONFIG.format(after=after)
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder, "gateway"), config, PLUGIN) as daemon:
            return await _load(await daemon.port(), rate, seconds)


async def _load(port: int, rate: float, seconds: float) -> Outcome:
    outcome = Outcome()
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        )
        enter = stack.enter_async_context
        sockets = [await enter(joined(http, port)) for _ in range(CLIENTS)]
        clients = [Client(websocket, outcome) for websocket in sockets]
        start = time.monotonic()
        newcomers = asyncio.create_task(_connect(http, port, outcome))
        each = rate / CLIENTS
        async with asyncio.TaskGroup() as group:
            for number, client in enumerate(clients):
                first = start + number / rate
                group.create_task(client.ask(each, first, start + seconds))
        newcomers.cancel()
        limit = time.monotonic() + SETTLE
        while outcome.unanswered and time.monotonic() < limit:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        for client in clients:
            client.reading.cancel()
        await asyncio.wait([client.reading for client in clients])
    return outcome


async def _connect(http: aiohttp.ClientSession, port: int, outcome: Outcome) -> None:
    """Connect ten clients a second, which leave at once, and count refusals of both kinds."""
    while True:
        await asyncio.sleep(0.1)
        outcome.tried += 1
        try:
            async with joined(http, port):
                pass
        except (aiohttp.WSServerHandshakeError, ConnectionRefusedError):
            outcome.refused += 1


@asynccontextmanager
async def joined(
    http: aiohttp.ClientSession, port: int
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    url = f"http://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket"
    async with http.ws_connect(url) as websocket:
        await websocket.send_str("40")
        while not (text := await websocket.receive_str()).startswith("4"):
            pass
        if text.startswith("44"):
            raise ConnectionRefusedError
        yield websocket


if __name__ == "__main__":
    main()
