"""What carries messages between the nodes: Redis, alone or with Sentinel, or NATS."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import hiredis

from bench.clustering.network import Machine, machine
from tests.programs import nats, redis

__all__ = ["BROKERS", "Broker", "Sentinel", "Server"]

START = 10.0
"""Seconds that a server may take to listen, and a Sentinel to know all."""

DOWN = 1000
"""Milliseconds without an answer after which the Sentinel holds a master to be down."""


class Server:
    """A server on a machine, to be started, killed and frozen; `words` is its command."""

    def __init__(self, on: Machine, port: int, *words: str | Path) -> None:
        self.machine, self.port = on, port
        self._words = words
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, empty, and wait until it listens. Raises `RuntimeError` if it does not."""
        nowhere = asyncio.subprocess.DEVNULL
        self._process = await asyncio.create_subprocess_exec(
            *self.machine.command(*self._words), stdin=nowhere, stdout=nowhere, stderr=nowhere
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(START):
                while self._process.returncode is None:
                    with suppress(OSError):
                        (await asyncio.open_connection(self.machine.address, self.port))[1].close()
                        return
                    await asyncio.sleep(0.02)
        raise RuntimeError(f"{self._words[0]} does not listen")

    async def kill(self) -> None:
        """Kill it, as a crash does."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def freeze(self) -> None:
        """Let it do nothing, with its connections open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    async def command(self, *words: str) -> Any:
        """Send a command to a Redis and return its reply."""
        reader, writer = await asyncio.open_connection(self.machine.address, self.port)
        try:
            replies = hiredis.Reader(encoding="utf-8")
            writer.write(" ".join(words).encode() + b"\r\n")
            async with asyncio.timeout(START):
                while (reply := replies.gets()) is False:
                    replies.feed(await reader.read(2**16))
            return reply
        finally:
            writer.close()


class Broker(Protocol):
    """A broker: `config` is its part of `cluster:`. Faults happen to `server`."""

    name: str
    server: Server
    config: str

    async def subscriptions(self) -> int:
        """The number of subscriptions that it has."""


class Redis:
    """A Redis without persistence."""

    name = "Redis"

    def __init__(self, server: Server) -> None:
        self.server = server
        self.config = f"redis: {{url: redis://{server.machine.address}:{server.port}}}"

    async def subscriptions(self) -> int:
        patterns = int(await self.server.command("PUBSUB", "NUMPAT"))
        names = await self.server.command("PUBSUB", "CHANNELS")
        told = await self.server.command("PUBSUB", "NUMSUB", *names) if names else []
        return patterns + sum(map(int, told[1::2]))


class Nats:
    """A NATS server, with its monitor on another port."""

    name = "NATS"
    MONITOR = 8222

    def __init__(self, server: Server) -> None:
        self.server = server
        self.config = f"nats: {{url: nats://{server.machine.address}:{server.port}}}"

    async def subscriptions(self) -> int:
        url = f"http://{self.server.machine.address}:{self.MONITOR}/subsz"
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            return int((await answer.json())["num_subscriptions"])


class Sentinel:
    """Two Redis, of which one is the master, and a Sentinel that watches them."""

    name = "Sentinel"

    def __init__(self, one: Server, two: Server, sentinel: Server) -> None:
        self.server = one
        self.config = (
            f"redis: {{sentinel: {{master: main, hosts: "
            f'["{sentinel.machine.address}:{sentinel.port}"]}}}}'
        )
        self._servers = (one, two)
        self._sentinel = sentinel

    async def ready(self) -> None:
        """Wait until the Sentinel knows a replica that has everything. Raises `TimeoutError`."""
        await self._until(self._has_replica)

    async def failover(self) -> None:
        """Have the Sentinel make the replica the master, in order, and wait until it is."""
        before = await self._master()

        await self._sentinel.command("SENTINEL", "FAILOVER", "main")
        await self.moved(before)

    async def moved(self, before: str) -> None:
        """Wait until the Sentinel names another master than that at an address."""

        async def is_moved() -> bool:
            return await self._master() != before

        await self._until(is_moved)
        address = await self._master()
        self.server = next(each for each in self._servers if each.machine.address == address)

    async def joined(self, members: int) -> None:
        """Wait until the master has so many subscribers. Raises `TimeoutError`."""

        async def are_there() -> bool:
            told = await self.server.command("CLIENT", "LIST", "TYPE", "PUBSUB")
            return str(told).count("name=sockgw") == members

        await self._until(are_there)

    async def subscriptions(self) -> int:
        return await Redis(self.server).subscriptions()

    async def _master(self) -> str:
        told = await self._sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")
        return str(told[0])

    async def _has_replica(self) -> bool:
        told = await self._sentinel.command("SENTINEL", "REPLICAS", "main")
        replicas = [dict(zip(each[::2], each[1::2], strict=True)) for each in told]
        return [(each["flags"], each["master-link-status"]) for each in replicas] == [
            ("slave", "ok")
        ]

    async def _until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(6 * START):
            while not await condition():  # noqa: ASYNC110
                await asyncio.sleep(0.1)


def _redis(on: Machine, folder: Path, *options: str) -> Server:
    bind = ("--port", "6379", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "")
    own = (*bind, "--dir", str(folder), "--repl-diskless-sync-delay", "0", *options)
    return Server(on, 6379, redis.PROGRAM.find(), *own)


@asynccontextmanager
async def _alone(folder: Path) -> AsyncIterator[Redis]:
    async with machine(10) as host:
        server = _redis(host, folder)
        try:
            await server.start()
            yield Redis(server)
        finally:
            await server.kill()


@asynccontextmanager
async def _nats(folder: Path) -> AsyncIterator[Nats]:
    async with machine(10) as host:
        options = ("--addr", "0.0.0.0", "--port", "4222", "-m", str(Nats.MONITOR))
        server = Server(host, 4222, nats.PROGRAM.find(), *options)
        try:
            await server.start()
            yield Nats(server)
        finally:
            await server.kill()


@asynccontextmanager
async def _sentinel(folder: Path) -> AsyncIterator[Sentinel]:
    async with AsyncExitStack() as stack:
        hosts = [await stack.enter_async_context(machine(number)) for number in (11, 12, 13)]
        copy = ("--replicaof", hosts[0].address, "6379")
        one, two = _redis(hosts[0], folder), _redis(hosts[1], folder, *copy)
        file = folder / "sentinel.conf"
        file.write_text(
            f"port 26379\nprotected-mode no\ndir {folder}\n"
            f"sentinel monitor main {hosts[0].address} 6379 1\n"
            f"sentinel down-after-milliseconds main {DOWN}\n"
            "sentinel failover-timeout main 5000\n"
        )
        watching = Server(hosts[2], 26379, redis.PROGRAM.find(), file, "--sentinel")
        for server in (one, two, watching):
            stack.push_async_callback(server.kill)
            await server.start()
        found = Sentinel(one, two, watching)
        await found.ready()
        yield found


BROKERS: Mapping[str, Callable[[Path], AbstractAsyncContextManager[Broker]]] = {
    "Redis": _alone,
    "Sentinel": _sentinel,
    "NATS": _nats,
}
