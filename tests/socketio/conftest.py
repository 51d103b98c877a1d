"""A daemon for all tests of a module, at short pings and at Socket.IO's own, and raw clients."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Literal

import pytest
import pytest_asyncio

from tests.daemon_in_loop import served
from tests.gateway_files import write
from tests.raw_client import Raw, raw

SHORT = {"ping_interval": "300ms", "ping_timeout": "20s"}
LONG = {"ping_interval": "25s", "ping_timeout": "20s"}

Transport = Literal["polling", "websocket"]
Open = Callable[[], AbstractAsyncContextManager[Raw]]


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=[SHORT, LONG], ids=["short-pings", "long-pings"]
)
async def address(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """Where the gateway is served that the module describes by `CONFIG`, `PLUGIN` and `SERVER`.

    Nothing may hold only because a ping limit fell.
    """
    module = request.module
    server = json.dumps({**getattr(module, "SERVER", {}), **request.param})
    config = f"{module.CONFIG}\nserver: {server}\n"
    async with served(
        write(tmp_path_factory.mktemp("gateway"), config, plugin=module.PLUGIN)
    ) as url:
        yield url


@pytest.fixture(params=["polling", "websocket"])
def transport(request: pytest.FixtureRequest) -> Transport:
    """The transport of the raw clients."""
    chosen: Transport = request.param
    return chosen


@pytest.fixture
def opened(address: str, transport: Transport) -> Open:
    """Opens sessions: `async with opened() as client`."""
    return lambda: raw(address, transport)


@pytest_asyncio.fixture(loop_scope="module")
async def client(opened: Open) -> AsyncIterator[Raw]:
    """A client whose session is open and in no namespace."""
    async with opened() as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def joined(client: Raw) -> Raw:
    """A client that has joined `/`."""
    assert str(await client.join()).startswith('40{"sid":')
    return client
