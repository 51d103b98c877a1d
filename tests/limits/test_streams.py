"""Streams: a handler that waits for its client, so that no event is lost and little is kept."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.engineio.session import Session
from tests.deadline import deadline, until
from tests.js.install import NODE
from tests.raw_client import raw
from tests.reload.edited_daemon import Running, running

CONFIG = """
reload: {watch: "off"}
admin: {socket: admin.sock}
namespaces:
  /: {routes: {build: {use: log.build, timeout: 1h}}}
"""

PLUGIN = """
count, most, packets = 0, 0, 0

async def build(ctx, lines: int):
    global count, most, packets
    outbox = ctx.socket._wire.session.outbox
    for number in range(lines):
        await ctx.socket.emit("line", number, "x" * 250)
        count, packets = number, max(packets, len(outbox))
        most = max(most, outbox.size + outbox.taken)
        await ctx.socket.drained()
    return lines
"""

JS = Path(__file__).parents[1] / "js" / "lines.js"
LOOKS = 30


class Reader:
    """The official client in a process of its own, which can be stopped."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def report(self, *expected: str) -> dict[str, Any]:
        """The last of as many reports as are expected, in whatever order they come."""
        assert self._process.stdout is not None
        reports: list[dict[str, Any]] = []
        async with deadline():
            while len(reports) < len(expected):
                reports.append(json.loads(await self._process.stdout.readline()))
        assert {report["at"] for report in reports} == {*expected}, reports
        return reports[-1]

    def stop(self) -> None:
        """Have it read nothing, nor do anything else."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def reading(url: str, transports: str, lines: int) -> AsyncIterator[Reader]:
    process = await asyncio.create_subprocess_exec(
        *(NODE, JS, url, transports, str(lines)), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Reader(process)
        async with deadline():
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def told(one: Running) -> dict[str, int]:
    """What the handler sees of its stream."""
    seen: dict[str, int] = one.serving.build.plugins.resolve("log.build").target.__globals__
    return seen


def session(one: Running) -> Session:
    [only] = one.serving.sockets.engine.sessions.values()
    return only


def stands_still(one: Running) -> Callable[[], bool]:
    """Whether the handler has waited for its client from one look to the next, and the next."""
    seen, found = told(one), [-1, 0]

    def look() -> bool:
        waits, last = bool(session(one).outbox.drain), found[0]
        found[:] = seen["count"], found[1] + 1 if waits and seen["count"] == last else 0
        return found[1] > LOOKS

    return look


@pytest.mark.parametrize(
    ("transports", "lines", "before"),
    [
        ("websocket", 100_000, ["connect", "reading"]),
        ("polling", 20_000, ["connect", "reading"]),
        ("polling,websocket", 100_000, ["connect", "reading", "upgrade"]),
    ],
)
async def test_the_official_client_gets_all_of_a_stream_though_it_stops_reading(
    js_packages: None, tmp_path: Path, transports: str, lines: int, before: list[str]
) -> None:
    async with (
        running(tmp_path, CONFIG, log=PLUGIN) as one,
        reading(one.url, transports, lines) as reader,
    ):
        seen, limits = told(one), one.serving.sockets.hub.limits
        await reader.report(*before)
        reader.stop()
        await until(stands_still(one))
        assert 0 < seen["count"] < lines - 1
        one.config(CONFIG.replace("1h", "2h"))
        assert (await one.reload()).result == "applied"
        reader.go_on()
        end = await reader.report("end")
        assert (end["lines"], end["wrong"]) == (lines, None)
        assert end["transport"] == transports.rpartition(",")[2]
        assert seen["packets"] <= limits.send_packets / 4 + 1
        assert seen["most"] <= limits.send_buffer / 4 + 300
        assert 'sockgw_limited_total{limit="send_buffer"} 0.0' in await one.get("/metrics")
        await reader.report("disconnect")


async def test_a_stream_goes_on_over_the_websocket_that_a_client_moves_to(tmp_path: Path) -> None:
    async with running(tmp_path, CONFIG, log=PLUGIN) as one, raw(one.url, "polling") as client:
        await client.join()
        await client.send('420["build",10000]')
        seen = [number_of(await client.receive()) for _ in range(15)]  # the answer to one poll
        await until(stands_still(one))
        path = f"{one.url}/socket.io/?EIO=4&transport=websocket&sid={client.handshake['sid']}"
        async with deadline(), aiohttp.ClientSession() as http, http.ws_connect(path) as websocket:
            await websocket.send_str("2probe")
            assert await websocket.receive_str() == "3probe"
            await websocket.send_str("5")
            while not (packet := await websocket.receive_str()).startswith("43"):
                seen.append(number_of(packet))
        assert seen == list(range(10_000))
        assert packet == "430[10000]"


def number_of(packet: str | bytes | None) -> int:
    """The number of a line."""
    assert isinstance(packet, str)
    assert packet.startswith('42["line",'), packet
    return int(packet.split(",")[1])
