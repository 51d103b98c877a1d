"""Nodes of one cluster, each a daemon, and clients that note what reaches them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.daemon.gateway_of_workers import GatewayOfWorkers, run_workers, until_true
from tests.deadline import deadline, until
from tests.gateway_files import write
from tests.js_client import JsClient
from tests.ports import free_port
from tests.programs.nats import Nats
from tests.programs.redis import Redis
from tests.raw_client import Raw, raw

__all__ = [
    "Somebody",
    "figure",
    "get",
    "is_whole",
    "node",
    "numbers",
    "opened",
    "polling",
    "port_of",
    "somebody",
    "until_cluster",
    "written",
]

CONFIG = """
cluster:
  name: shop
  {engine}: {{url: "{url}"}}
  listen: {{secret: a secret of the tests{listen}}}
admin: {{port: {admin}}}
server: {{port: {port}, workers: {workers}, cors_origins: "*", stop_timeout: 60s}}
reload: {{watch: "off", poll_interval: 1h, close_window: 200ms}}
limits: {{connections_per_second: unlimited, overload_after: unlimited}}
namespaces:
  /: &routes
    routes: {{emit: own.emit, ask: own.ask, listed: own.listed, slow: own.slow, pid: own.pid}}
  /present:
    <<: *routes
    user: data.name
    connection_middleware:
      - own.auth
      - {{use: builtin.presence, with: {{namespace: true, grace: 1}}}}
"""
CLOCK = """
services: {{clock: {{use: own.Clock, scope: cluster, with: {{notes: {notes}}}}}}}
"""
OWN = """
import asyncio, os
from pathlib import Path

async def auth(ctx, next):
    ctx.socket.data.update(ctx.socket.handshake.auth)
    await next()

async def emit(ctx, first: int, count: int):
    for number in range(first, first + count):
        await ctx.namespace.emit("n", number)

async def ask(ctx):
    found = await ctx.namespace.call("question", timeout=120)
    return {"answers": len(found.answers), "missing": found.missing_members}

async def listed(ctx):
    found = await ctx.namespace.sockets(timeout=120)
    return {"count": len(found), "missing": found.missing}

async def slow(ctx, marker: str):
    Path(marker).touch()
    while Path(marker).exists():
        await asyncio.sleep(0.01)

async def pid(ctx):
    return os.getpid()

class Clock:
    def __init__(self, gateway, notes: str):
        self.tag, self.notes = gateway.member.tag, notes

    def note(self, sign):
        with open(self.notes, "a") as file:
            file.write(sign + self.tag + chr(10))

    async def __aenter__(self):
        self.note("+")
        return self

    async def __aexit__(self, *error):
        self.note("-")
"""


def written(
    folder: Path, url: str, workers: int = 1, listen: str = "", notes: Path | None = None
) -> Path:
    """Write a node; with `notes`, a service that runs once in the cluster notes when it does."""
    folder.mkdir()
    ports = {"admin": free_port(), "port": free_port()}
    engine, _, _ = url.partition(":")
    text = CONFIG.format(engine=engine, url=url, workers=workers, listen=listen, **ports)
    clock = CLOCK.format(notes=notes) if notes else ""
    return write(folder, text + clock, own=OWN)


@asynccontextmanager
async def node(
    folder: Path, bus: Redis | Nats, workers: int = 1, listen: str = "", notes: Path | None = None
) -> AsyncIterator[GatewayOfWorkers]:
    """Run a node as long as the block lasts."""
    async with run_workers(written(folder, bus.url, workers, listen, notes)) as gateway:
        yield gateway


async def until_cluster(*gateways: GatewayOfWorkers, members: int, up: int | None = None) -> None:
    """Wait until each knows so many other members, and has so many links that are up."""

    async def know() -> bool:
        found = [(await each.status()).get("cluster", {}) for each in gateways]
        return all(
            each.get("up")
            and each["members"] == members
            and up in (None, each["links"]["up"])
            and not (up is not None and each["links"]["down"])
            for each in found
        )

    await until_true(know)


async def figure(gateway: GatewayOfWorkers, name: str) -> float:
    """The sum of a metric's samples of a node now."""
    lines = (await gateway.metrics()).splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


class Somebody:
    """A client that is not back if it is lost, and notes what it hears.

    `numbers` are those of the events `n`, `heard` the joins and leaves. It answers a `question`,
    unless it is `silent`.
    """

    def __init__(self, client: Raw, namespace: str, *, silent: bool = False) -> None:
        self.numbers: list[int] = []
        self.heard: list[str] = []
        self.asked = asyncio.Event()
        self.lost = asyncio.Event()
        self._client, self._silent = client, silent
        self._head = "" if namespace == "/" else f"{namespace},"
        self._last = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}

    async def call(self, *event: object) -> Any:
        """Send an event; gives what its ack has."""
        answer = await self.begin(*event)
        async with deadline():
            return await answer

    async def begin(self, *event: object) -> asyncio.Future[Any]:
        """Send an event; gives what its ack will have."""
        self._last += 1
        answer = self._answers[self._last] = asyncio.get_running_loop().create_future()
        await self._client.send(f"42{self._head}{self._last}{json.dumps(event)}")
        return answer

    async def until_heard(self, what: str) -> None:
        await until(lambda: what in self.heard)

    async def read(self) -> None:
        """Take what comes until the connection ends."""
        while isinstance(packet := await self._client.receive(timeout=None), str):
            kind, rest = packet[:2], packet[2:].removeprefix(self._head)
            number, bracket, data = rest.partition("[")
            if kind == "43":
                (found,) = json.loads(bracket + data) or [None]
                self._answers.pop(int(number)).set_result(found)
            elif kind == "42":
                await self._take(number, *json.loads(bracket + data))
        self.lost.set()

    async def _take(self, number: str, event: str, *args: Any) -> None:
        if event == "n":
            self.numbers += args
        elif event == "presence":
            self.heard += [f"+{each['user']}" for each in args[0]["joins"]]
            self.heard += [f"-{each['user']}" for each in args[0]["leaves"]]
        elif event == "question":
            self.asked.set()
            if not self._silent:
                await self._client.send(f"43{self._head}{number}[]")


def port_of(gateway: GatewayOfWorkers) -> int:
    """The port for clients of a node."""
    return int(gateway.url.rpartition(":")[2])


async def get(http: aiohttp.ClientSession, gateway: GatewayOfWorkers, path: str) -> int:
    """Ask a node's admin listener; gives the status of the answer."""
    async with http.get(gateway.admin + path) as answer:
        return answer.status


def polling(gateway: GatewayOfWorkers, sid: str = "") -> str:
    """Where polls of a session go that reach this node."""
    return f"{gateway.url}/socket.io/?EIO=4&transport=polling" + (f"&sid={sid}" if sid else "")


async def opened(http: aiohttp.ClientSession, gateway: GatewayOfWorkers) -> str:
    """Open a session at a node by polling; gives its id."""
    async with http.get(polling(gateway)) as answer:
        return str(json.loads((await answer.text())[1:])["sid"])


@asynccontextmanager
async def somebody(
    gateway: GatewayOfWorkers, name: str = "", namespace: str = "/", *, silent: bool = False
) -> AsyncIterator[Somebody]:
    """Connect to a node over a WebSocket; without a `name` presence says nothing of it."""
    async with raw(gateway.url) as client:
        answer = await client.join(namespace, json.dumps({"name": name}) if name else "")
        assert str(answer).startswith("40"), answer
        one = Somebody(client, namespace, silent=silent)
        reading = asyncio.create_task(one.read())
        try:
            yield one
        finally:
            reading.cancel()
            await asyncio.wait({reading})


def numbers(client: JsClient) -> list[list[int]]:
    """The numbers that a stock client has got, of each of its connections."""
    found: list[list[int]] = []
    for each in client.log:
        if each.event == "connect":
            found.append([])
        elif each.event == "n":
            found[-1] += each.args
    return found


def is_whole(numbers: Iterable[int]) -> bool:
    """True if nothing is missing between the first and the last, and nothing came twice."""
    each = list(numbers)
    return each == list(range(each[0], each[0] + len(each))) if each else True
