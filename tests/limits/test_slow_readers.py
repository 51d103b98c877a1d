"""Clients that do not take what they are sent: bounded, told, and nobody else's trouble."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.hostile.line import frame, upgrade
from tests.limits.conftest import Bound
from tests.raw import Raw, raw
from tests.scenario import write

ROOT = Path(__file__).parents[2]
LIMIT = 60.0
SLOW, POLLING, FAST = 100, 20, 5
SIZE, COUNT = 10_000, 1_000
BUFFER = 200_000

CONFIG = f"""
server: {{port: 0}}
admin: {{socket: admin.sock}}
limits: {{send_buffer: {BUFFER}, connections_per_second: unlimited}}
namespaces:
  /:
    routes: {{stream: plugin.stream, told: plugin.told, disconnect: plugin.left}}
"""

PLUGIN = """
import asyncio
from collections import Counter

reasons = Counter()

async def stream(ctx, count: int, size: int):
    for number in range(count):
        await ctx.namespace.emit("part", number, "x" * size)
        await asyncio.sleep(0)

async def told(ctx):
    return dict(reasons)

async def left(ctx):
    reasons[ctx.args[0]] += 1
"""


class Process:
    """A daemon of its own; `lines` are those of its log."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.lines: list[str] = []
        self._process, self._folder = process, folder

    async def url(self) -> str:
        assert self._process.stderr is not None
        while line := (await self._process.stderr.readline()).decode():
            if found := re.search(r"listening on (http://[\d.:]+)", line):
                self._reading = asyncio.create_task(self._read())
                return found[1]
        raise AssertionError("it does not listen")

    @property
    def memory(self) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    async def met(self, limit: str) -> float:
        unix = aiohttp.UnixConnector(str(self._folder / "admin.sock"))
        async with (
            aiohttp.ClientSession(connector=unix) as http,
            http.get("http://admin/metrics") as answer,
        ):
            text = await answer.text()
        found = re.search(rf'sockgw_limited_total{{limit="{limit}"}} (\S+)', text)
        assert found
        return float(found[1])

    async def _read(self) -> None:
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            self.lines.append(line.decode())


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Process]:
    file = write(folder, CONFIG, plugin=PLUGIN)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "run", str(file), "--log-format", "json"),
        cwd=ROOT,
        env={**os.environ, "XDG_STATE_HOME": str(folder / "state")},
        stdout=DEVNULL,
        stderr=PIPE,
    )
    try:
        yield Process(process, folder)
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def slow(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A WebSocket in `/` that reads no further, and for which little is kept on its way."""
    host, port = url.removeprefix("http://").split(":")
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.setblocking(False)
    await asyncio.get_running_loop().sock_connect(line, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=line, limit=1024)
    try:
        writer.write(upgrade("?EIO=4&transport=websocket") + frame(b"40"))
        await reader.readuntil(b"40{")
        await reader.readuntil(b"}")
        yield reader, writer
    finally:
        writer.transport.abort()


@asynccontextmanager
async def joined(url: str, transport: Any = "websocket") -> AsyncIterator[Raw]:
    async with raw(url, transport) as client:
        assert str(await client.join()).startswith("40{")
        yield client


async def numbers(client: Raw, count: int) -> list[int]:
    """The numbers of that many events."""
    found = []
    while len(found) < count:
        packet = await client.receive(LIMIT)
        assert isinstance(packet, str), packet
        if packet.startswith('42["part",'):
            found.append(json.loads(packet[2:])[1])
    return found


@pytest.mark.timeout(120)
async def test_slow_readers_are_dropped_and_nobody_else_sees_a_gap(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon, AsyncExitStack() as stack, asyncio.timeout(LIMIT):
        url = await daemon.url()
        enter = stack.enter_async_context
        fast = [await enter(joined(url)) for _ in range(FAST)]
        for _ in range(SLOW):
            await enter(slow(url))
        for _ in range(POLLING):
            await enter(joined(url, "polling"))
        before = daemon.memory
        reading = [asyncio.create_task(numbers(client, COUNT)) for client in fast]
        async with joined(url) as sender:
            asked = asyncio.create_task(numbers(sender, COUNT))
            await sender.send(f'42["stream",{COUNT},{SIZE}]')
            assert await asked == list(range(COUNT))
            for each in reading:
                assert await each == list(range(COUNT))
            grown = daemon.memory - before
            told: dict[str, int] = {}
            while told.get("slow client", 0) < SLOW + POLLING:
                await sender.send('427["told"]')
                answer = await sender.receive()
                assert isinstance(answer, str)
                (told,) = json.loads(answer.removeprefix("437"))
        assert told == {"slow client": SLOW + POLLING}
        assert await daemon.met("send_buffer") == SLOW + POLLING
        assert any("limit send_buffer by session" in line for line in daemon.lines)
        assert grown < (SLOW + POLLING) * BUFFER + 20_000_000


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
async def test_who_reads_again_has_whole_events_in_order_and_every_ack(
    bound: Bound, policy: str
) -> None:
    count = 400
    async with bound(f"send_buffer: 100KB, on_slow: {policy}") as one, slow(one.url) as line:
        reader, writer = line
        writer.write(frame(b'421["flood",%d,10000]' % count) + frame(b'422["say","last"]'))
        while not (await one.met()).get("send_buffer"):
            pass
        seen: list[int] = []
        acks: list[bytes] = []
        async with asyncio.timeout(LIMIT):
            while len(acks) < 2:
                opcode, data = await read_frame(reader)
                assert opcode == 1
                if data.startswith(b"43"):
                    acks.append(data)
                    continue
                head = b'451-["part",'
                assert data.startswith(head), data
                seen.append(int(data[len(head) :].split(b",")[0]))
                assert await read_frame(reader) == (2, b"x" * 10_000)
        assert acks == [b"431[]", b'432["last"]']
        assert seen == sorted(set(seen))
        assert len(seen) < count
        assert seen[0] == 0
        assert (seen[-1] == count - 1) is (policy == "drop_oldest")
        assert one.reasons == []


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first, size = await reader.readexactly(2)
    if size == 126:
        size = int.from_bytes(await reader.readexactly(2))
    elif size == 127:
        size = int.from_bytes(await reader.readexactly(8))
    return first & 0x0F, await reader.readexactly(size)
