"""Two nodes of two workers, each on a machine of its own, and the proxy before them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from bench.clustering.brokers import BROKERS, Broker
from bench.clustering.network import HERE, Machine, machine
from bench.processes import family
from bench.reloading.daemon import Daemon, running
from bench.scaling.gateway import served_by
from bench.scaling.holdings import environment, told
from tests.programs.proxies import nginx

__all__ = ["NODES", "PORT", "WORKERS", "Cluster", "Counted", "Node", "cluster", "front"]

NODES, WORKERS = 2, 2
PORT = 7001

CONFIG = """\
server: {{host: {host}, port: {port}, workers: {workers}, trusted_proxies: [{proxy}]}}
admin: {{socket: admin.sock}}
reload: {{watch: "off"}}
limits: {{connections_per_second: unlimited, bytes_per_second: unlimited}}
cluster:
  name: bench
  {broker}
  listen: {{host: {host}, port: 7400, secret: 0123456789abcdef0123456789abcdef}}
namespaces:
  /:
    routes:
      enter: room.enter
      tell: room.tell
      ask: room.ask
      stand: room.stand
      say: room.say
      change: room.change
"""

PLUGIN = """\
async def enter(ctx):
    await ctx.socket.join("room")
    return ctx.gateway.member.number

async def tell(ctx, number: int):
    await ctx.namespace.to("room").emit("told", number)

async def ask(ctx, value):
    return value

async def stand(ctx, room: str):
    await ctx.socket.join(room)

async def say(ctx, room: str, number: int):
    await ctx.namespace.to(room).emit("said", number)

async def change(ctx, number: int):
    room = f"room-{number % 100}"
    await ctx.socket.join(room)
    await ctx.namespace.to(room).join(f"{room}-all")
    count = await ctx.namespace.to(f"{room}-all").count()
    await ctx.namespace.to(room).leave(f"{room}-all")
    await ctx.socket.leave(room)
    return count
"""

PATIENCE = 60.0
"""Seconds in which a cluster has to be whole."""

LOOK = 0.1
"""Seconds between two looks."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What a member has counted as missed, and the node that it is of."""

    node: int
    missed: int


class Node:
    """A gateway on its machine. `number` is 1 or 2."""

    def __init__(self, number: int, on: Machine, folder: Path, broker: str, workers: int) -> None:
        self.number, self.machine = number, on
        self._errors: list[str] = []
        self._workers = workers
        self._folder, self._told = folder, folder / "told"
        self._stack = AsyncExitStack()
        self._daemon: Daemon | None = None
        (folder / "plugins").mkdir(parents=True)
        self._told.mkdir()
        (folder / "plugins/room.py").write_text(PLUGIN)
        (folder / "gateway.yaml").write_text(
            CONFIG.format(host=on.address, port=PORT, workers=workers, proxy=HERE, broker=broker)
        )

    @property
    def daemon(self) -> Daemon:
        assert self._daemon is not None, "the node does not run"
        return self._daemon

    @property
    def errors(self) -> list[str]:
        """What it has logged as errors, in all its lives."""
        return [*self._errors, *(self._daemon.errors if self._daemon else ())]

    @property
    def told(self) -> Path:
        """The folder into which its processes tell what they hold."""
        return self._told

    async def start(self) -> None:
        """Start it, and wait until it serves. Raises `RuntimeError` or `TimeoutError`."""
        file, environ = self._folder / "gateway.yaml", environment(self._told)
        again = running(file, os.sched_getaffinity(0), environ, self.machine.command())
        self._daemon = await self._stack.enter_async_context(again)
        await self._daemon.listens()
        await served_by(self._daemon)

    async def kill(self) -> None:
        """Kill all its processes, as when the machine loses its power."""
        for pid in family(self.daemon.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self.close()

    async def close(self) -> None:
        """Stop it."""
        if self._daemon is not None:
            self._errors += self._daemon.errors
            self._daemon = None
        await self._stack.aclose()

    async def members(self) -> dict[str, int]:
        """The process of each of its members, by tag."""
        workers = (await self.daemon.admin.status())["workers"]
        return {each["tag"]: each["pid"] for each in workers}

    async def counted(self) -> dict[str, Counted]:
        """What each of its members has counted, by tag."""
        return {
            tag: Counted(self.number, (await told(pid, self._told)).missed)
            for tag, pid in (await self.members()).items()
        }

    async def is_whole(self, nodes: int) -> bool:
        """True if its members know all members, and reach them."""
        others = (nodes - 1) * self._workers
        told = (await self.daemon.admin.status())["cluster"]
        links, known = told["links"], self._workers - 1 + others
        found = (told["up"], told["members"], links["up"], links["down"])
        return found == (True, known, self._workers * others, 0)


class Cluster:
    """The nodes and their broker."""

    def __init__(self, nodes: Sequence[Node], broker: Broker) -> None:
        self.nodes, self.broker = nodes, broker

    @property
    def members(self) -> int:
        """The number of members."""
        return len(self.nodes) * WORKERS

    async def whole(self) -> float:
        """Wait until all members know and reach each other; the seconds that it took.

        Raises `TimeoutError`.
        """
        began = monotonic()
        async with asyncio.timeout(PATIENCE):
            while not all([await node.is_whole(len(self.nodes)) for node in self.nodes]):  # noqa: ASYNC110
                await asyncio.sleep(LOOK)
        return monotonic() - began

    async def counted(self) -> dict[str, Counted]:
        """What each member has counted, by tag."""
        return {tag: each for node in self.nodes for tag, each in (await node.counted()).items()}

    async def metric(self, name: str) -> int:
        """The sum of a metric over all nodes."""
        return int(sum([sum(await node.daemon.metric(name)) for node in self.nodes]))


@asynccontextmanager
async def cluster(broker: str, folder: Path) -> AsyncIterator[Cluster]:
    """Run the nodes on a broker."""
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240
    async with AsyncExitStack() as stack:
        carrying = await stack.enter_async_context(BROKERS[broker](folder))
        nodes = []
        for number in range(1, NODES + 1):
            host = await stack.enter_async_context(machine(number))
            node = Node(number, host, folder / f"node-{number}", carrying.config, WORKERS)
            stack.push_async_callback(node.close)
            nodes.append(node)
        await asyncio.gather(*(node.start() for node in nodes))
        found = Cluster(nodes, carrying)
        await found.whole()
        yield found


@asynccontextmanager
async def front(ours: Cluster, folder: Path) -> AsyncIterator[str]:
    """Run a proxy that sends each request to the next node; gives its URL."""
    addresses = [f"{node.machine.address}:{PORT}" for node in ours.nodes]
    async with nginx(folder, *addresses, has_tls=False) as port:
        yield f"http://127.0.0.1:{port}"
