"""What is served for the suites, at short pings and at long ones, and raw clients of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.conformance.serve import Served, serving
from tests.deadline import until
from tests.engineio.conftest import LONG, SHORT
from tests.engineio.echo_server import Stream, Wire


@pytest.fixture(scope="module", params=[SHORT, LONG], ids=["short-pings", "long-pings"])
def pings(request: pytest.FixtureRequest) -> dict[str, float]:
    """Nothing may hold only because a ping limit fell."""
    return dict(request.param)


@pytest.fixture(scope="module")
def join_timeout(request: pytest.FixtureRequest) -> float:
    """Longer than any test takes, unless it asks for another."""
    return getattr(request, "param", 3600.0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(pings: dict[str, float], join_timeout: float) -> AsyncIterator[Served]:
    async with serving(join_timeout=join_timeout, **pings) as served:
        yield served


class Client(Wire):
    """A raw client at `path`; `engine` is the other end."""

    def __init__(self, served: Served, path: str, http: aiohttp.ClientSession) -> None:
        super().__init__(int(served.url.rpartition(":")[2]), http)
        self.url = served.url + path
        self.engine = served.engines[path]

    async def waiting(self) -> asyncio.Task[Any]:
        """A poll that the server has."""
        session = self.engine.sessions[self.sid]
        poll = asyncio.create_task(self.poll())
        await until(lambda: session.polling and session.polling.is_ready)
        return poll

    async def gone(self) -> None:
        """Wait until the session is over."""
        await until(lambda: self.sid not in self.engine.sessions)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Stream]:
        """A client of the gateway that has joined `/`."""
        async with self.streaming() as stream:
            await stream.send("40")
            assert str(await stream.receive()).startswith("40")
            assert await stream.receive() == '42["auth",{}]'
            yield stream


@pytest_asyncio.fixture(loop_scope="module")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


@pytest.fixture(params=["/socket.io/", "/engine.io/"])
def either(request: pytest.FixtureRequest, served: Served, http: aiohttp.ClientSession) -> Client:
    """A client of the gateway, and of the engine alone: their suites begin alike."""
    return Client(served, request.param, http)


@pytest.fixture
def engine(served: Served, http: aiohttp.ClientSession) -> Client:
    return Client(served, "/engine.io/", http)


@pytest.fixture
def gateway(served: Served, http: aiohttp.ClientSession) -> Client:
    return Client(served, "/socket.io/", http)
