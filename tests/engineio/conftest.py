"""Servers and raw clients, at short pings and at Socket.IO's own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from gateway.engineio.session import Session
from tests.engineio.echo_server import Server, Wire
from tests.engineio.recording import RecordingHost, RecordingWebSocket, take

SHORT = {"ping_interval": 0.3, "ping_timeout": 20.0}
"""Pings in the middle of a test. Who answers is never too late, however busy the machine is."""

HASTY = {"ping_interval": 0.3, "ping_timeout": 1.0}
"""For clients that do not answer, and are to be given up."""

LONG = {"ping_interval": 25.0, "ping_timeout": 20.0}


@pytest.fixture(params=[SHORT, LONG], ids=["short-pings", "long-pings"])
def pings(request: pytest.FixtureRequest) -> dict[str, float]:
    """Nothing may hold only because a ping limit fell."""
    return dict(request.param)


@pytest.fixture
async def server(pings: dict[str, float]) -> AsyncIterator[Server]:
    """A server at either ping setting."""
    async with Server(**pings) as server:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


@pytest.fixture
def wire(server: Server, http: aiohttp.ClientSession) -> Wire:
    """A client of that server that has no session yet."""
    return Wire(server.port, http)


@pytest.fixture
def host() -> RecordingHost:
    return RecordingHost()


@pytest.fixture
def session(host: RecordingHost) -> Session:
    """A session on polling that has had its open packet."""
    session = host.open()
    take(session)
    return session


@pytest.fixture
def websocket() -> RecordingWebSocket:
    return RecordingWebSocket()


@pytest.fixture
def streaming(host: RecordingHost, websocket: RecordingWebSocket) -> Session:
    """A session that began on `websocket` and has had its open packet."""
    session = host.open("websocket")
    session.open(websocket)
    websocket.sent.clear()
    return session
