"""A Socket.IO client for traffic: it calls, keeps what comes, and knows when it was sent away."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from tests.deadline import deadline
from tests.raw_client import Raw, raw

__all__ = ["Caller", "caller"]

PACKET = re.compile(r"4(?P<kind>\d)(?:(?P<namespace>/[^,]*),)?(?P<id>\d*)(?P<data>.*)", re.DOTALL)


class Caller:
    """One socket. `events` are those it was sent, `sent_away` is set when the gateway ends it."""

    def __init__(self, client: Raw, namespace: str) -> None:
        self.events: asyncio.Queue[list[Any]] = asyncio.Queue()
        self.sent_away = asyncio.Event()
        self.lost = asyncio.Event()
        self._client = client
        self._head = "" if namespace == "/" else f"{namespace},"
        self._ids = count()
        self._answers: dict[int, asyncio.Future[list[Any]]] = {}

    async def call(self, event: str, *args: object) -> list[Any]:
        """The arguments of the ack."""
        async with deadline():
            return await self.begin(event, *args)

    def begin(self, event: str, *args: object) -> asyncio.Task[list[Any]]:
        """A call whose ack is awaited later."""
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()

        async def call() -> list[Any]:
            await self._client.send(f"42{self._head}{number}{json.dumps([event, *args])}")
            return await answer

        return asyncio.create_task(call())

    async def emit(self, event: str, *args: object) -> None:
        await self._client.send(f"42{self._head}{json.dumps([event, *args])}")

    async def event(self) -> list[Any]:
        """The next event the gateway sent, its arguments after its name."""
        async with deadline():
            return await self.events.get()

    async def leave(self) -> None:
        await self._client.send(f"41{self._head}")

    async def read(self) -> None:
        """Read until the connection ends."""
        while isinstance(packet := await self._client.receive(timeout=None), str):
            found = PACKET.fullmatch(packet)
            assert found is not None, packet
            data = json.loads(found["data"]) if found["data"] else None
            if found["kind"] == "3":
                self._answers.pop(int(found["id"])).set_result(data)
            elif found["kind"] == "2":
                self.events.put_nowait(data)
            elif found["kind"] == "1":
                self.sent_away.set()
        self.lost.set()


@asynccontextmanager
async def caller(url: str, namespace: str = "/", auth: str = "") -> AsyncIterator[Caller]:
    """A client in a namespace of the gateway at `url`."""
    async with raw(url) as client:
        answer = await client.join(namespace, auth)
        assert isinstance(answer, str)
        assert answer.startswith("40"), answer
        one = Caller(client, namespace)
        reading = asyncio.create_task(one.read())
        try:
            yield one
        finally:
            reading.cancel()
            await asyncio.wait({reading})
