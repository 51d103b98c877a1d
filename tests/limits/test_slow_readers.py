"""Clients that take nothing, or not enough, of what they are sent."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.deadline import deadline
from tests.deaf_client import deaf
from tests.gateway_files import write
from tests.limits.limited_daemon import CONFIG, PLUGIN, Edge, ask
from tests.raw_client import Raw, raw

ROOT = Path(__file__).parents[2]
DAEMON = """
import asyncio, logging, sys
from pathlib import Path
from gateway.daemon.daemon import Daemon

logging.basicConfig(level=logging.INFO)
daemon = Daemon(Path(sys.argv[1]), environ={"XDG_STATE_HOME": sys.argv[2]}, port=0)
asyncio.run(daemon.run(lambda facts: print(facts.url, flush=True)))
"""
DEAF, POLLERS, FAST = 100, 20, 5
BATCH, SIZE = 10, 10_000
BUFFER = 200_000
WRITING = 2**16  # what a transport holds before it says that a client does not read
ALLOWED = (DEAF + POLLERS) * (BUFFER + WRITING + SIZE) + 20_000_000


@asynccontextmanager
async def daemon(folder: Path, limits: str) -> AsyncIterator[tuple[Edge, int, Path]]:
    """A daemon in a process of its own: its edge, its pid and its log."""
    file, log = write(folder, CONFIG.format(limits=limits, own=""), plugin=PLUGIN), folder / "log"
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", DAEMON, str(file), str(folder / "state")),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
        )
    try:
        assert process.stdout is not None
        async with deadline():
            url = (await process.stdout.readline()).decode().strip()
        assert url, log.read_text()
        yield Edge(url, file), process.pid, log
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


async def reads(client: Raw, first: int) -> None:
    """Read a batch of the stream, without a gap."""
    for number in range(first, first + BATCH):
        packet = await client.receive()
        assert isinstance(packet, str)
        assert packet.startswith(f'42["flood",{number},'), packet[:80]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc here")
async def test_those_who_do_not_read_are_sent_away_and_cost_no_more_than_they_may(
    tmp_path: Path,
) -> None:
    async with daemon(tmp_path, f"send_buffer: {BUFFER}") as (one, pid, log), AsyncExitStack() as s:
        fast = [await s.enter_async_context(raw(one.url)) for _ in range(FAST)]
        for client in fast:
            await client.join()
        witness = await s.enter_async_context(raw(one.url))
        await witness.join("/calm")
        for _ in range(DEAF):
            s.enter_context(deaf(one.url))
        for _ in range(POLLERS):
            poller = await s.enter_async_context(raw(one.url, "polling"))
            await poller.send("40")
        while await ask(witness, "here", namespace="/calm") != [FAST + DEAF + POLLERS]:
            pass
        before = resident(pid)
        most, first = before, 0
        reasons: list[str] = []
        async with deadline():
            while len(reasons) < DEAF + POLLERS:
                await ask(witness, "flood", first, first + BATCH, SIZE, namespace="/calm")
                await asyncio.gather(*(reads(client, first) for client in fast))
                first += BATCH
                most = max(most, resident(pid))
                [reasons] = await ask(witness, "told", namespace="/calm")
        assert set(reasons) == {"slow client"}
        assert most - before < ALLOWED
        assert await one.met("send_buffer") == DEAF + POLLERS
        assert "limit send_buffer by socket " in log.read_text()
        for client in fast:
            assert await ask(client, "say", 1) == [1]


BLOB = 100_000
BLOBS = 250


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize("on_slow", ["drop_oldest", "drop_newest"])
async def test_a_slow_client_misses_whole_events_and_no_ack(
    edge, on_slow: str, transport: str
) -> None:
    limits = f"send_buffer: 500KB, on_slow: {on_slow}"
    async with (
        edge(limits) as one,
        raw(one.url) as witness,
        raw(one.url, transport) as client,
    ):
        await witness.join("/calm")
        await client.join()
        for first in range(0, BLOBS, 10):
            # Each call is answered while nothing of it is read.
            await client.send(f'421{first}["say",{first}]')
            await ask(witness, "blobs", first, first + 10, BLOB, namespace="/calm")
        await client.send('427["say","end"]')
        seen: list[int] = []
        acks: list[int] = []
        while (packet := await client.receive()) != '437["end"]':
            assert isinstance(packet, str)
            if packet.startswith("431"):
                acks.append(int(packet.partition("[")[2].rstrip("]")))
                continue
            assert packet.startswith('451-["blob",'), packet
            seen.append(int(packet.split(",")[1]))
            assert await client.receive() == bytes([seen[-1]]) * BLOB
        assert seen == sorted(set(seen))
        assert 0 < len(seen) < BLOBS
        assert (BLOBS - 1 in seen) == (on_slow == "drop_oldest")
        assert (0 in seen) == (on_slow == "drop_newest" or transport == "websocket")
        assert acks == list(range(0, BLOBS, 10))
        assert await ask(client, "say", 2) == [2]
        assert await one.met("send_buffer") > 0
