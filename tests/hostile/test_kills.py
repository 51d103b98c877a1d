"""Clients, networks and backends that go without a word, in the middle of calls."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve
from tests.deadline import deadline
from tests.raw_client import Raw, raw

ROOT = Path(__file__).parents[2]
LIMIT = 20.0
CLIENTS = 10

CONFIG = """
server: {ping_interval: PINGS, ping_timeout: PINGS}
namespaces:
  /:
    connection_middleware: [plugin.stay]
    routes:
      hold: {use: plugin.hold, on_disconnect: cancel}
      finish: plugin.finish
      disconnect: plugin.left
      tell: plugin.tell
      let: plugin.let
"""

PLUGIN = """
import asyncio
from collections import Counter

happened = Counter()
leave = asyncio.Event()

async def stay(ctx, next):
    await next()
    happened["unwound"] += 1

async def hold(ctx):
    happened["held"] += 1
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        happened["cancelled"] += 1
        raise

async def finish(ctx):
    happened["begun"] += 1
    await leave.wait()
    happened["finished"] += 1
    return "for nobody"

async def left(ctx):
    happened[ctx.args[0]] += 1

async def let(ctx):
    leave.set()

async def tell(ctx):
    return dict(happened)
"""

CROWD = """
import asyncio, sys
from contextlib import AsyncExitStack
from tests.raw_client import raw

async def main(url, transport, clients):
    async with AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(raw(url, transport)) for _ in range(clients)]
        for client in crowd:
            await client.join()
            await client.send('421["hold"]', '422["finish"]')
        print("ready", flush=True)
        await asyncio.gather(*(client.receive() for client in crowd))

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


@asynccontextmanager
async def process(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python of its own that has said it is ready; killed in the end."""
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", *command), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert started.stdout is not None
        async with deadline():
            assert (await started.stdout.readline()).startswith(b"ready")
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def ask(witness: Raw, event: str, *args: object) -> Any:
    """The witness' call, and the one value of its ack."""
    await witness.send(f"427{json.dumps([event, *args])}")
    answer = await witness.receive()
    assert isinstance(answer, str)
    values = json.loads(answer.removeprefix("437"))
    return values[0] if values else None


async def until(witness: Raw, **wanted: int) -> dict[str, int]:
    """Ask until the plugins have seen as much."""
    async with deadline():
        while True:
            told: dict[str, int] = await ask(witness, "tell")
            if wanted.items() <= told.items():
                return told


@asynccontextmanager
async def crowded(
    gateway: Serve, transport: str, pings: str
) -> AsyncIterator[tuple[Raw, asyncio.subprocess.Process]]:
    """A witness, and the process of ten clients that wait for answers to two calls each."""
    async with (
        gateway(CONFIG.replace("PINGS", pings), plugin=PLUGIN) as url,
        raw(url) as witness,
        process(CROWD, url, transport, str(CLIENTS)) as crowd,
    ):
        await witness.join()
        await until(witness, held=CLIENTS, begun=CLIENTS)
        yield witness, crowd


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_clients_that_are_killed_in_the_middle_of_calls(
    gateway: Serve, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with crowded(gateway, transport, "2s") as (witness, crowd):
        crowd.kill()
        await until(witness, cancelled=CLIENTS, unwound=CLIENTS)
        await ask(witness, "let")
        told = await until(witness, finished=CLIENTS)
        # One that was killed between two polls is missed when it does not answer a ping.
        ends = (
            ["transport error", "ping timeout"] if transport == "polling" else ["transport close"]
        )
        assert sum(told.get(reason, 0) for reason in ends) == CLIENTS
    assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_network_that_is_cut_in_the_middle_of_calls(
    gateway: Serve, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Clients that are stopped: nothing comes from them, and nothing tells that they are gone."""
    async with crowded(gateway, transport, "500ms") as (witness, crowd):
        crowd.send_signal(signal.SIGSTOP)
        await until(witness, cancelled=CLIENTS, unwound=CLIENTS)
        await ask(witness, "let")
        assert (await until(witness, finished=CLIENTS))["ping timeout"] == CLIENTS
    assert [record for record in caplog.records if record.exc_info] == []


async def test_a_link_that_is_cut_in_the_middle_of_calls() -> None:
    """In a network of its own, where the machine lets a test have one."""
    command = ["unshare", "--net"]
    if not (shutil.which("unshare") and shutil.which("ip")):
        pytest.skip("no unshare, or no ip, here")
    allowed = await asyncio.create_subprocess_exec(
        *command, "ip", "link", stdout=DEVNULL, stderr=DEVNULL
    )
    if await allowed.wait():
        pytest.skip("no network namespaces here; clients that are stopped stand in for it")
    run = await asyncio.create_subprocess_exec(
        *(*command, sys.executable, "-m", "tests.hostile.cut_network"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await run.communicate()
    assert (run.returncode, out) == (0, b"whole\n"), err.decode()


BACKED = """
services:
  backend: {use: plugin.Backend, with: {port: PORT}}
namespaces:
  /:
    routes:
      ask: {use: plugin.ask, timeout: 10s}
      brief: {use: plugin.ask, timeout: 300ms}
      own: plugin.own
"""

BACKEND = """
import asyncio

class Backend:
    def __init__(self, port: int):
        self._port = port

    async def ask(self, word):
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(word.encode() + b"\\n")
            answer = await reader.readline()
            if not answer:
                raise ConnectionError("the backend has gone")
            return answer.decode().strip()
        finally:
            writer.close()

async def ask(ctx, word: str):
    return await ctx.service.backend.ask(word)

async def own(ctx, word: str):
    return word
"""

STORE = """
import asyncio, sys

async def answer(reader, writer):
    while word := await reader.readline():
        if word == b"wait\\n":
            print("asked", flush=True)
            await asyncio.Event().wait()
        writer.write(word.upper())
        await writer.drain()
    writer.close()

async def main(port):
    server = await asyncio.start_server(answer, "127.0.0.1", port)
    print("ready", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main(int(sys.argv[1])))
"""

FAILED = {"error": {"code": "internal", "message": "internal error"}}


@asynccontextmanager
async def store(port: int = 0) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A backend in a process of its own, and its port."""
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", STORE, str(port)), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert started.stdout is not None
        async with deadline():
            line = await started.stdout.readline()
        yield started, int(line.split()[1])
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def asked(backend: asyncio.subprocess.Process, times: int) -> None:
    """Wait until so many calls are in the backend's hands."""
    assert backend.stdout is not None
    async with deadline():
        for _ in range(times):
            assert await backend.stdout.readline() == b"asked\n"


async def test_a_backend_that_is_killed_in_the_middle_of_calls(gateway: Serve) -> None:
    async with store() as (backend, port):
        config = BACKED.replace("PORT", str(port))
        async with gateway(config, plugin=BACKEND) as url, raw(url) as client, raw(url) as witness:
            await client.join()
            await witness.join()
            for number in range(CLIENTS):
                await client.send(f'42{number}["ask","wait"]')
            await asked(backend, CLIENTS)
            backend.kill()
            answers = {await client.receive() for _ in range(CLIENTS)}
            said = json.dumps([FAILED], separators=(",", ":"))
            assert answers == {f"43{number}{said}" for number in range(CLIENTS)}
            assert await ask(witness, "ask", "hello") == FAILED
            assert await ask(witness, "own", "hello") == "hello"
            async with store(port):
                assert await ask(client, "ask", "hello") == "HELLO"


async def test_a_backend_that_hangs_in_the_middle_of_calls(gateway: Serve) -> None:
    async with store() as (backend, port):
        config = BACKED.replace("PORT", str(port))
        async with gateway(config, plugin=BACKEND) as url, raw(url) as witness:
            await witness.join()
            backend.send_signal(signal.SIGSTOP)
            late = await ask(witness, "brief", "hello")
            assert late["error"]["code"] == "timeout"
            assert await ask(witness, "own", "hello") == "hello"
            backend.send_signal(signal.SIGCONT)
            assert await ask(witness, "ask", "hello") == "HELLO"
