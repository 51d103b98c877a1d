"""Every way to end a socket gives back every table entry, timer, task and descriptor of it.

F8: so does a connection chain that raises. SOCKGW_SESSIONS=1000 ends that many in each way.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from gateway.api import Socket
from gateway.engineio.session import Session
from gateway.socketio.client import Client, ConnectedSocket
from tests.conformance.serve import Served, serving
from tests.deadline import DEADLINE
from tests.gateway_files import write
from tests.raw_client import Raw, raw
from tests.socketio.conftest import Transport

NUMBER = int(os.environ.get("SOCKGW_SESSIONS", "200"))
AT_ONCE = 50

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300 + NUMBER),
]

CONFIG = """
namespaces:
  /:
    routes:
      room: plugin.room
      ask: plugin.ask
      kick: plugin.kick
      wait: {use: plugin.slow, on_disconnect: cancel}
  /chain:
    connection_middleware: [plugin.stay]
    routes: {disconnect: plugin.left}
  /closed:
    connection_middleware: [plugin.refuse]
  /slow:
    connection_middleware: [plugin.slow]
  /late:
    connection_middleware: [plugin.slow]
    connect_timeout: 10ms
  /broken:
    connection_middleware: [plugin.fail]
  /faulty:
    connection_middleware: [plugin.fail_at_the_end]
    packet_middleware: [plugin.stay]
    routes:
      a: plugin.fail
      error: plugin.fail
      disconnecting: plugin.fail
      disconnect: plugin.fail
"""

PLUGIN = """
import asyncio
from gateway import Reject

async def room(ctx):
    await ctx.socket.join(f"room of {ctx.socket.id}")
    await ctx.socket.join("room of all")

async def ask(ctx):
    with suppress(ConnectionError):
        await ctx.socket.call("question")

async def kick(ctx):
    await ctx.socket.disconnect()

async def stay(ctx, next):
    await next()

async def left(ctx):
    pass

async def refuse(ctx, next):
    raise Reject("no")

async def fail(ctx, *_):
    raise ValueError("a fault")

async def fail_at_the_end(ctx, next):
    await next()
    raise ValueError("a fault")

async def slow(ctx, *_):
    await asyncio.Event().wait()
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """What there is in this process, and in the gateway."""

    tasks: int
    timers: int
    descriptors: int
    entries: tuple[int, ...]

    @classmethod
    def now(cls, served: Served) -> Counts:
        engine, rooms = served.server.engine, served.server.hub.rooms
        engine.configure(engine.settings, engine.limits)  # a timer may outlast the connections
        loop: Any = asyncio.get_running_loop()
        return cls(
            tasks=len(asyncio.all_tasks()),
            timers=sum(not timer.cancelled() for timer in loop._scheduled),
            descriptors=len(os.listdir("/proc/self/fd")),
            entries=(
                len(rooms),
                len(engine.sessions),
                len(engine.websockets),
                len(rooms._namespaces),
                len(rooms._rooms),
                len(rooms.addresses),
                len(rooms.counts),
            ),
        )


def alive() -> Counter[type]:
    """The objects that a session and its sockets are made of."""
    gc.collect()
    kinds = {Session, Client, Socket, ConnectedSocket}
    return Counter(type(thing) for thing in gc.get_objects() if type(thing) in kinds)


async def client_leaves(client: Raw) -> None:
    await client.join()
    await client.send("41")


async def client_closes(client: Raw) -> None:
    await client.join()
    await client.send('42["room"]', "1")


async def client_vanishes(client: Raw) -> None:
    await client.join("/chain")
    await client.send("40")


async def client_vanishes_while_its_chain_is_pending(client: Raw) -> None:
    await client.send("40/slow,")


async def client_vanishes_while_it_is_asked(client: Raw) -> None:
    await client.join()
    await client.send(*['42["ask"]'] * 10)


async def client_answers_and_vanishes(client: Raw) -> None:
    await client.join()
    await client.send('42["ask"]')
    await client.receive()
    await client.send("431[]")


async def client_vanishes_while_a_handler_waits(client: Raw) -> None:
    await client.join()
    await client.send('421["wait"]')


async def client_vanishes_with_attachments_due(client: Raw) -> None:
    await client.join()
    await client.send('452-["ask",{"_placeholder":true,"num":0}]', b"x" * 1000)


async def client_breaks_the_protocol(client: Raw) -> None:
    await client.join()
    await client.join("/chain")
    await client.send('42["room"]', "4x")


async def client_never_joins(client: Raw) -> None:
    assert await client.receive() is None


async def client_is_silent(client: Raw) -> None:
    await client.join()
    while await client._next() is not None:
        pass


async def client_is_refused(client: Raw) -> None:
    await client.join("/closed")
    await client.join("/nowhere")


async def chain_throws(client: Raw) -> None:
    assert await client.join("/broken") == (
        '44/broken,{"message":"internal error","data":{"code":"internal"}}'
    )


async def chain_takes_too_long(client: Raw) -> None:
    assert str(await client.join("/late")).startswith("44/late,")


async def everything_throws(client: Raw) -> None:
    await client.join("/faulty")
    await client.send('42/faulty,1["a"]')
    assert str(await client.receive()).startswith('43/faulty,1[{"error":{"code":"internal"')


async def client_is_kicked(client: Raw) -> None:
    await client.join()
    await client.send('42["room"]', '42["kick"]')
    assert await client.receive() == "41"


WAYS = [
    client_leaves,
    client_closes,
    client_vanishes,
    client_vanishes_while_its_chain_is_pending,
    client_vanishes_while_it_is_asked,
    client_answers_and_vanishes,
    client_vanishes_while_a_handler_waits,
    client_vanishes_with_attachments_due,
    client_breaks_the_protocol,
    client_never_joins,
    client_is_silent,
    client_is_refused,
    client_is_kicked,
    chain_throws,
    chain_takes_too_long,
    everything_throws,
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    file = write(tmp_path_factory.mktemp("gateway"), CONFIG, plugin=PLUGIN)
    async with serving(file, join_timeout=4.0, ping_interval=0.5, ping_timeout=3.0) as served:
        yield served


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_nothing_is_left(
    served: Served,
    transport: Transport,
    way: Callable[[Raw], Awaitable[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "sockgw")  # a traceback would keep what it passed through

    async def once() -> None:
        async with raw(served.url, transport) as client:
            await way(client)

    counts, objects = Counts.now(served), alive()
    assert not any(counts.entries)

    def is_nothing_left() -> bool:
        """Objects that an earlier test had left behind may be gone by now."""
        return Counts.now(served) == counts and alive() <= objects

    for _ in range(NUMBER // AT_ONCE):
        await asyncio.gather(*(once() for _ in range(AT_ONCE)))
    end = time.monotonic() + DEADLINE  # a time-out of the loop's would be a timer too many
    while not (is_over := is_nothing_left()) and time.monotonic() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    assert is_over, (Counts.now(served), alive())
