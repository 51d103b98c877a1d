"""F12: a session that is in no namespace does not hold its connection for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.limits import Limits
from tests.conformance.serve import serving
from tests.gateway_files import write
from tests.raw_client import Raw
from tests.socketio.conftest import Open

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG = """
namespaces:
  /:
    routes: {a: plugin.reply, kick: plugin.kick, open: plugin.open_up}
  /closed:
    connection_middleware: [plugin.refuse]
  /slow:
    connection_middleware: [plugin.slow]
    routes: {a: plugin.reply}
"""

PLUGIN = """
import asyncio
from gateway import Reject

opened = asyncio.Event()

async def reply(ctx):
    return tuple(ctx.args)

async def kick(ctx):
    await ctx.socket.disconnect()

async def refuse(ctx, next):
    raise Reject("no")

async def slow(ctx, next):
    await opened.wait()
    await next()

async def open_up(ctx):
    opened.set()
"""


@pytest_asyncio.fixture(loop_scope="module")
async def address(tmp_path: Path) -> AsyncIterator[str]:
    """A gateway of 25 s pings where a session may be in no namespace for a second."""
    file = write(tmp_path, CONFIG, plugin=PLUGIN)
    async with serving(file, join_timeout=1.0) as served:
        yield served.url


async def time_passes(opened: Open) -> None:
    """A session that was opened later and never joins is over."""
    async with opened() as later:
        assert await later.receive() is None


async def test_a_session_that_never_joins_is_ended(opened):
    await time_passes(opened)


@pytest.mark.parametrize("namespace", ["/closed", "/unknown"])
async def test_a_session_that_was_refused_is_ended(client, namespace):
    assert str(await client.join(namespace)).startswith("44")
    assert await client.receive() is None


async def test_a_session_that_left_its_last_namespace_is_ended(joined):
    await joined.send("41")
    assert await joined.receive() is None


async def test_a_session_whose_last_socket_was_disconnected_is_ended(joined):
    await joined.send('42["kick"]')
    assert await joined.receive() == "41"
    assert await joined.receive() is None


async def still_there(client: Raw, namespace: str = "") -> bool:
    await client.send(f'42{namespace}1["a"]')
    return await client.receive() == f"43{namespace}1[]"


async def test_a_session_in_a_namespace_stays(joined, opened):
    await time_passes(opened)
    assert await still_there(joined)


async def test_a_session_that_left_one_of_its_namespaces_stays(joined, opened):
    await joined.join("/closed")
    await time_passes(opened)
    assert await still_there(joined)


async def test_a_session_that_joins_again_stays(joined, opened):
    await joined.send("41")
    await joined.join()
    await time_passes(opened)
    assert await still_there(joined)


async def test_a_session_that_waits_for_its_chain_stays(client, opened):
    """How long that may take is the namespace's `connect_timeout`."""
    await client.send("40/slow,")
    await time_passes(opened)
    async with opened() as other:
        await other.join()
        await other.send('42["open"]')
        assert str(await client.receive()).startswith("40/slow,")
    assert await still_there(client, "/slow,")


async def test_the_time_is_that_of_node():
    assert Limits().join_timeout == 45.0
