"""Members of a cluster, each a `sockgw run`, and the sockets on them."""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import signal
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.buses.sides import ARGS
from bench.flooding.wire import WebSocket, frame
from bench.reloading.daemon import Daemon, running
from tests.ports import free_port
from tests.programs.redis import Redis

__all__ = ["Crowd", "Member", "members"]

CONFIG = """\
server: {{port: {port}, ping_interval: {ping}}}
admin: {{socket: admin.sock}}
reload: {{watch: "off"}}
limits:
  connections_per_second: unlimited
  bytes_per_second: unlimited
  packets_per_second: unlimited
  overload_after: unlimited
  rooms_per_socket: unlimited
{cluster}
namespaces:
  /: {{routes: {{enter: room.enter, tell: room.tell, ask: room.ask}}}}
"""

CLUSTER = "cluster: {{name: bench, redis: {{url: 'redis://127.0.0.1:{redis}'}}{listen}}}"
LISTEN = ", listen: {{host: 127.0.0.1, port: {port}, secret: 0123456789abcdef0123456789abcdef}}"

PLUGIN = f"""\
ARGS = {ARGS!r}

async def enter(ctx, *rooms):
    await ctx.socket.join(rooms)

async def tell(ctx, room: str, count: int):
    target = ctx.namespace.to(room)
    for _ in range(count):
        await target.emit("message", *ARGS)

async def ask(ctx, value):
    return value
"""

PATIENCE = 60.0
"""Seconds in which all members know each other, and in which all is delivered."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member, and the port at which it serves clients."""

    daemon: Daemon
    port: int

    @property
    def pid(self) -> int:
        return self.daemon.pid


@asynccontextmanager
async def members(
    folder: Path, count: int, redis: Redis | None, *, ping: str = "1h", listen: bool = False
) -> AsyncIterator[list[Member]]:
    """Run members that know each other; one alone is in no cluster if there is no Redis."""
    async with AsyncExitStack() as stack:
        started = [_member(folder / str(at), redis, ping, listen) for at in range(count)]
        made = [await stack.enter_async_context(each) for each in started]
        for each in made:
            await each.daemon.listens()
        if redis is not None:
            await _joined(made, listen)
        try:
            yield made
        finally:
            await _killed(each.pid for each in made)


async def _killed(pids: Iterable[int]) -> None:
    """End processes: nobody is there whom they could tell that they leave."""
    left = set(pids)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    while left := {pid for pid in left if os.path.exists(f"/proc/{pid}")}:  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.01)


@asynccontextmanager
async def _member(
    folder: Path, redis: Redis | None, ping: str, listen: bool
) -> AsyncIterator[Member]:
    port = free_port()
    listens = LISTEN.format(port=free_port()) if listen else ""
    cluster = CLUSTER.format(redis=redis.port, listen=listens) if redis else ""
    file = _written(folder, CONFIG.format(port=port, ping=ping, cluster=cluster))
    async with running(file, os.sched_getaffinity(0)) as daemon:
        yield Member(daemon, port)


def _written(folder: Path, config: str) -> Path:
    (folder / "plugins").mkdir(parents=True)
    (folder / "plugins/room.py").write_text(PLUGIN)
    file = folder / "gateway.yaml"
    file.write_text(config)
    return file


async def _joined(made: Sequence[Member], listen: bool) -> None:
    """Wait until each member knows all others. Raises `TimeoutError`."""
    others = len(made) - 1
    async with asyncio.timeout(PATIENCE):
        for each in made:
            while (await each.daemon.metric("sockgw_bus_members")) != [others]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            while listen and sum(await each.daemon.metric("sockgw_links")) < others:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


class Crowd:
    """Sockets that read what comes, and the one among them that sends.

    Frames of a message all have the same size, so bytes tell how many have come.
    """

    def __init__(self) -> None:
        self.sockets: list[WebSocket] = []
        self.read = 0
        self._selector = selectors.DefaultSelector()
        self._buffer = bytearray(2**18)

    def open(self, port: int, count: int, *rooms: str) -> list[WebSocket]:
        """Connect sockets to a member, and have them enter rooms."""
        made = []
        for _ in range(count):
            websocket = WebSocket(port)
            websocket.join(b"40")
            if rooms:
                websocket.send(b"421" + json.dumps(["enter", *rooms]).encode())
                websocket.packet()
            self._selector.register(websocket.line, selectors.EVENT_READ, websocket)
            made.append(websocket)
        self.sockets += made
        return made

    def send(self, socket: WebSocket, packet: bytes) -> None:
        """Send a packet of Engine.IO."""
        socket.line.sendall(frame(packet))

    def drain(self, wanted: int) -> None:
        """Read until so many bytes have come, in all. Raises `TimeoutError`."""
        end = time.monotonic() + PATIENCE
        while self.read < wanted:
            if time.monotonic() > end:
                raise TimeoutError(f"{wanted - self.read} bytes do not come")
            for key, _ in self._selector.select(1.0):
                self.read += key.fileobj.recv_into(self._buffer)  # type: ignore[union-attr]

    def answer(self, seconds: float) -> int:
        """Answer pings for so long; returns how many there were."""
        end, count = time.monotonic() + seconds, 0
        while (left := end - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                if key.fileobj.recv_into(self._buffer):  # type: ignore[union-attr]
                    key.fileobj.sendall(frame(b"3"))  # type: ignore[union-attr]
                    count += 1
        return count

    def close(self) -> None:
        """Close all."""
        self._selector.close()
        for each in self.sockets:
            each.line.close()
