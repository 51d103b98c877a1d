"""Presence over processes that are killed: two workers, and two daemons on one Redis."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.daemon.gateway_of_workers import run_workers
from tests.deadline import deadline
from tests.gateway_files import write
from tests.ports import free_port
from tests.programs.redis import redis
from tests.raw_client import Raw, raw

CONFIG = """
server: {{port: {port}, workers: {workers}, transports: [websocket], stop_timeout: 5s}}
admin: {{port: {admin}}}
reload: {{watch: "off", poll_interval: 1h}}
limits: {{overload_after: unlimited}}
namespaces:
  /:
    user: data.name
    connection_middleware: [own.auth, {{use: builtin.presence, with: {{grace: {grace}}}}}]
    routes: {{enter: own.enter, here: builtin.present, pid: own.pid}}
"""
OWN = """
import os

async def auth(ctx, next):
    ctx.socket.data.update(ctx.socket.handshake.auth)
    await next()

async def enter(ctx, room: str):
    await ctx.socket.join(room)

async def pid(ctx):
    return os.getpid()
"""


def files(folder: Path, workers: int, grace: float = 1, more: str = "") -> Path:
    ports = {"port": free_port(), "admin": free_port()}
    config = CONFIG.format(workers=workers, grace=grace, **ports)
    return write(folder, config + more, own=OWN)


class Somebody:
    """A client that keeps the joins and leaves that it hears of."""

    def __init__(self, client: Raw) -> None:
        self._client = client
        self.heard: list[str] = []

    async def call(self, *event: str) -> Any:
        """Send an event, and give what its ack has."""
        await self._client.send("421" + json.dumps(event))
        async with deadline():
            while not (packet := await self._next()).startswith("431"):
                pass
        answer = json.loads(packet[3:])
        return answer[0] if answer else None

    async def here(self) -> list[str]:
        return sorted(each["user"] for each in await self.call("here", "red"))

    async def until_here(self, *names: str) -> None:
        async with deadline():
            while await self.here() != sorted(names):  # noqa: ASYNC110 - it asks the gateway
                await asyncio.sleep(0.02)

    async def until_heard(self, what: str) -> None:
        async with deadline():
            while what not in self.heard:
                await self._next()

    async def _next(self) -> str:
        packet = await self._client.receive()
        assert isinstance(packet, str)
        if packet.startswith('42["presence"'):
            told = json.loads(packet[2:])[1]
            self.heard += [f"+{each['user']}" for each in told["joins"]]
            self.heard += [f"-{each['user']}" for each in told["leaves"]]
        return packet


@asynccontextmanager
async def somebody(url: str, name: str) -> AsyncIterator[Somebody]:
    async with raw(url) as client:
        await client.join(auth=json.dumps({"name": name}))
        yield Somebody(client)


async def on_each_worker(stack: AsyncExitStack, url: str, pids: set[int]) -> dict[int, Somebody]:
    """Connect until each worker has a client named after its place in the order of pids."""
    found: dict[int, Somebody] = {}
    async with deadline():
        while set(found) < pids:
            trial = AsyncExitStack()
            client = await trial.enter_async_context(somebody(url, "trial"))
            pid = await client.call("pid")
            await trial.aclose()
            if pid in found:
                continue
            name = f"user-{sorted(pids).index(pid)}"
            while pid not in found:
                attempt = AsyncExitStack()
                client = await attempt.enter_async_context(somebody(url, name))
                if await client.call("pid") == pid:
                    found[pid] = client
                    stack.push_async_callback(attempt.aclose)
                else:
                    await attempt.aclose()
    return found


async def test_a_killed_worker_is_told_once_by_the_other(tmp_path: Path) -> None:
    async with run_workers(files(tmp_path, 2)) as gateway, AsyncExitStack() as stack:
        pids = {each["pid"] for each in await gateway.all_serve()}
        clients = await on_each_worker(stack, gateway.url, pids)
        first, second = sorted(pids)
        stays, goes = clients[first], clients[second]
        await stays.call("enter", "red")
        await goes.call("enter", "red")
        for client in (stays, goes):
            await client.until_here("user-0", "user-1")
        os.kill(second, signal.SIGKILL)
        await stays.until_heard("-user-1")
        assert await stays.here() == ["user-0"]
        await gateway.all_serve(second)
        last = await stack.enter_async_context(somebody(gateway.url, "late"))
        await last.call("enter", "red")
        await last.until_here("user-0", "late")
        await stays.until_heard("+late")
        assert sorted(stays.heard) == ["+late", "+user-0", "+user-1", "-user-1"]


async def test_two_daemons_on_one_redis(tmp_path: Path) -> None:
    async with redis() as running, AsyncExitStack() as stack:
        block = f'cluster: {{name: shop, redis: {{url: "{running.url}"}}}}\n'
        gateways = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            file = files(tmp_path / name, 1, more=block)
            gateways.append(await stack.enter_async_context(run_workers(file)))
        one, two = gateways
        ann = await stack.enter_async_context(somebody(one.url, "ann"))
        phone = await stack.enter_async_context(somebody(two.url, "ann"))
        bob = await stack.enter_async_context(somebody(two.url, "bob"))
        for client in (ann, phone, bob):
            await client.call("enter", "red")
        for client in (ann, bob):
            await client.until_here("ann", "bob")
        async with somebody(one.url, "bob") as again:
            await again.call("enter", "red")
        os.kill(two.pid, signal.SIGKILL)
        await ann.until_heard("-bob")
        assert await ann.here() == ["ann"]
        assert sorted(ann.heard) == ["+ann", "+bob", "-bob"]
