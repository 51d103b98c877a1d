"""Events within one process while the broker is frozen, beside the same while it is not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from statistics import median, quantiles
from time import perf_counter

import aiohttp

from bench.clustering.nodes import PORT, Cluster, Node

__all__ = ["Delays", "Local", "local"]

EVERY = 0.02
"""Seconds between two rounds of a member's pair: a call, and a broadcast."""

TRIES = 200
"""Connections that are tried to find two for each member."""

MOST_ADDED = 0.005
"""Seconds that a frozen broker may add at p99."""


@dataclass(frozen=True, slots=True)
class Delays:
    """How long so many events took, in seconds; one in a hundred exceeded `p99`."""

    events: int
    median: float
    p99: float
    longest: float

    @classmethod
    def of(cls, times: Sequence[float]) -> Delays:
        return cls(len(times), median(times), quantiles(times, n=100)[98], max(times))


@dataclass(frozen=True, slots=True)
class Local:
    """Events of pairs of sockets, each of one process, without and with a frozen broker.

    `calls` last until their answer comes, `broadcasts` until another socket has them.
    """

    broker: str
    pairs: int
    rounds: int
    calls: tuple[Delays, Delays]
    broadcasts: tuple[Delays, Delays]

    @property
    def is_clean(self) -> bool:
        return all(
            frozen.p99 - quiet.p99 < MOST_ADDED for quiet, frozen in (self.calls, self.broadcasts)
        )


@dataclass(slots=True)
class _Times:
    calls: list[float] = field(default_factory=list)
    broadcasts: list[float] = field(default_factory=list)


class Socket:
    """A Socket.IO client on a WebSocket, in as few words as possible."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse, tag: str) -> None:
        self.tag = tag
        self._websocket = websocket
        self._answer: asyncio.Future[float] | None = None
        self.said: asyncio.Future[float] | None = None
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, http: aiohttp.ClientSession, node: Node) -> Socket:
        """Connect to a node, without a proxy, and join `/`."""
        address = f"{node.machine.address}:{PORT}"
        websocket = await http.ws_connect(
            f"ws://{address}/socket.io/?EIO=4&transport=websocket", compress=0
        )
        opened = json.loads((await websocket.receive_str())[1:])
        await websocket.send_str("40")
        await websocket.receive_str()
        return cls(websocket, opened["sid"][:5])

    async def call(self, event: str, *args: object) -> float:
        """Call and wait for the answer; returns when it came."""
        self._answer = asyncio.get_running_loop().create_future()
        await self._websocket.send_str(f"421{json.dumps([event, *args])}")
        return await self._answer

    async def close(self) -> None:
        self._reading.cancel()
        await self._websocket.close()

    async def _read(self) -> None:
        async for message in self._websocket:
            now, text = perf_counter(), message.data
            if text == "2":
                await self._websocket.send_str("3")
            elif text.startswith("431") and self._answer is not None:
                self._answer.set_result(now)
            elif text.startswith('42["said"') and self.said is not None:
                self.said.set_result(now)


async def local(cluster: Cluster, rounds: int, seconds: float) -> Local:
    """Measure without and with a freeze in turn, each time so many seconds."""
    quiet, frozen = _Times(), _Times()
    async with _pairs(cluster) as pairs:
        for _ in range(rounds):
            await _measure(pairs, seconds, quiet)
            cluster.broker.server.freeze()
            try:
                await _measure(pairs, seconds, frozen)
            finally:
                cluster.broker.server.thaw()
            await cluster.whole()
        return Local(
            broker=cluster.broker.name,
            pairs=len(pairs),
            rounds=rounds,
            calls=(Delays.of(quiet.calls), Delays.of(frozen.calls)),
            broadcasts=(Delays.of(quiet.broadcasts), Delays.of(frozen.broadcasts)),
        )


async def _measure(pairs: Sequence[tuple[Socket, Socket]], seconds: float, times: _Times) -> None:
    end = perf_counter() + seconds
    await asyncio.gather(*(_pair(one, other, end, times) for one, other in pairs))


async def _pair(one: Socket, other: Socket, end: float, times: _Times) -> None:
    number = 0
    while (began := perf_counter()) < end:
        times.calls.append(await one.call("ask", number) - began)
        other.said = asyncio.get_running_loop().create_future()
        began = perf_counter()
        await one.call("say", one.tag, number)
        times.broadcasts.append(await other.said - began)
        number += 1
        await asyncio.sleep(EVERY)


@asynccontextmanager
async def _pairs(cluster: Cluster) -> AsyncIterator[list[tuple[Socket, Socket]]]:
    """Two sockets of each member; the second one is in the room of its tag."""
    async with aiohttp.ClientSession() as http, AsyncExitStack() as stack:
        found: dict[str, list[Socket]] = {}
        for node in cluster.nodes:
            tags = await node.members()
            for _ in range(TRIES):
                if all(len(found.get(tag, ())) >= 2 for tag in tags):
                    break
                socket = await Socket.open(http, node)
                stack.push_async_callback(socket.close)
                found.setdefault(socket.tag, []).append(socket)
        pairs = [(each[0], each[1]) for each in found.values()]
        for one, other in pairs:
            await other.call("stand", one.tag)
        yield pairs
