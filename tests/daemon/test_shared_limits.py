"""Limits that hold for all workers together, in processes of their own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from tests.daemon.gateway_of_workers import GatewayOfWorkers, files, run_workers
from tests.daemon.test_workers import one_on_each
from tests.deadline import deadline

TOLD = """

async def told(ctx):  # when this comes back, the others have taken what was sent before
    await ctx.namespace.emit("told", confirm=True)
"""
Connect = Callable[[], Awaitable[int]]


@asynccontextmanager
async def client(gateway: GatewayOfWorkers) -> AsyncIterator[Connect]:
    """Connects sockets that stay open; gives 101, or the status of the refusal."""
    url = f"{gateway.url}/socket.io/?EIO=4&transport=websocket"
    async with AsyncExitStack() as stack, deadline():
        http = await stack.enter_async_context(aiohttp.ClientSession())

        async def connect() -> int:
            try:
                websocket = await stack.enter_async_context(http.ws_connect(url))
            except aiohttp.WSServerHandshakeError as error:
                return error.status
            await websocket.receive()
            return 101

        yield connect


def limited(folder: Path, limits: str) -> Path:
    """A gateway of two workers with these limits."""
    file = files(folder)
    file.write_text(file.read_text().replace("limits: {", f"limits: {{{limits}, "))
    return file


async def test_a_worker_that_is_started_again_knows_what_the_others_have(tmp_path: Path) -> None:
    file = limited(tmp_path, "sockets: 6")
    async with run_workers(file) as gateway, client(gateway) as connect:
        one, _ = await gateway.workers()
        os.kill(one["pid"], signal.SIGSTOP)  # so that the other one takes all
        assert [await connect() for _ in range(6)] == [101] * 6
        os.kill(one["pid"], signal.SIGKILL)
        await gateway.all_serve(one["pid"])
        assert [await connect() for _ in range(6)] == [503] * 6


async def test_a_rate_is_that_of_all_workers_together(tmp_path: Path) -> None:
    file = limited(tmp_path, "connections_per_second: 1")
    async with run_workers(file) as gateway, client(gateway) as connect:
        while await connect() != 101:  # noqa: ASYNC110 - it is another process that lets it in
            await asyncio.sleep(0.02)


async def test_a_rate_limit_of_the_node_holds_for_all_workers(tmp_path: Path) -> None:
    file = files(tmp_path)
    options = "{rate: 4, per: 3600, by: address, scope: node, events: [version]}"
    chain = f"packet_middleware: [{{use: builtin.rate_limit, with: {options}}}], "
    file.write_text(file.read_text().replace("{routes: {", f"{{{chain}routes: {{told: own.told, "))
    own = tmp_path / "plugins" / "own.py"
    own.write_text(own.read_text() + TOLD)
    async with run_workers(file) as gateway, AsyncExitStack() as stack:
        one, other = (await one_on_each(stack, gateway)).values()
        assert [await one.call("version") for _ in range(4)] == [["one"]] * 4
        for _ in range(2):
            await one.call("told")
        for client in (one, other):
            (answer,) = await client.call("version")
            assert answer["error"]["code"] == "rate_limited"  # type: ignore[index,call-overload]
