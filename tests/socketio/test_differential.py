"""The same valid packets to python-socketio as it comes and to the gateway: the same is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import socketio
from hypothesis import given, settings
from hypothesis import strategies as st
from socketio.packet import ACK, BINARY_ACK, BINARY_EVENT, EVENT
from socketio.packet import Packet as StockPacket

from tests.conftest import _serve
from tests.daemon_in_loop import served
from tests.gateway_files import write
from tests.raw_client import Raw, raw

NAMESPACES = ("/", "/a")

CONFIG = """
namespaces:
  /: &both
    packet_middleware: [chat.pass_on]
    routes:
      echo: chat.echo
      enter: chat.enter
      quit: chat.quit
      tell: chat.tell
      others: chat.others
      everyone: chat.everyone
  /a: *both
"""

PLUGIN = """
async def pass_on(ctx, next):
    await next()

async def echo(ctx):
    await ctx.socket.emit("echo", *ctx.args)
    return tuple(ctx.args)

async def enter(ctx, room: str):
    await ctx.socket.join(room)

async def quit(ctx, room: str):
    await ctx.socket.leave(room)

async def tell(ctx, room: str, *args):
    await ctx.namespace.to(room).emit("told", *args)

async def others(ctx, room: str, *args):
    await ctx.socket.to(room).emit("told", *args)

async def everyone(ctx, *args):
    await ctx.namespace.emit("news", *args)
    return len(args)
"""


def stock() -> socketio.AsyncServer:
    """What the plugin above does, written for python-socketio."""
    sio = socketio.AsyncServer(async_mode="aiohttp", async_handlers=False, namespaces="*")

    async def connect(sid: str, environ: object) -> None:
        pass

    async def event(name: str, namespace: str, sid: str, *args: Any) -> object:
        at: dict[str, Any] = {"namespace": namespace}
        if name == "echo":
            await sio.emit("echo", args, to=sid, **at)
            return args
        if name == "enter":
            await sio.enter_room(sid, args[0], **at)
        elif name == "quit":
            await sio.leave_room(sid, args[0], **at)
        elif name == "tell":
            await sio.emit("told", args[1:], to=args[0], **at)
        elif name == "others":
            await sio.emit("told", args[1:], to=args[0], skip_sid=sid, **at)
        else:
            await sio.emit("news", args, **at)
            return len(args)
        return None

    for namespace in NAMESPACES:
        sio.on("connect", connect, namespace=namespace)
    sio.on("*", event, namespace="*")
    return sio


class Client:
    """A session that has joined both namespaces; `seen` are the packets that came."""

    def __init__(self, session: Raw) -> None:
        self.seen: list[object] = []
        self._session = session

    async def join(self) -> None:
        for namespace in NAMESPACES:
            await self._session.join(namespace)

    async def send(self, namespace: str, data: Sequence[object], id: int | None = None) -> None:
        packet = StockPacket(EVENT, list(data), namespace, id).encode()
        text, *rest = packet if isinstance(packet, list) else [packet]
        await self._session.send(f"4{text}", *rest)

    async def settle(self) -> None:
        """Read until an echo of its own is acked: all that was sent before it is there."""
        await self.send("/", ["echo"], 0)
        while (packet := await self._packet()) != (ACK, "/", 0, []):
            self.seen.append(packet)

    async def _packet(self) -> tuple[object, ...]:
        text = await self._session.receive()
        assert isinstance(text, str)
        packet = StockPacket(encoded_packet=text[1:])
        while packet.attachment_count > len(packet.attachments):
            packet.add_attachment(await self._session.receive())
        kind = {BINARY_EVENT: EVENT, BINARY_ACK: ACK}.get(packet.packet_type, packet.packet_type)
        return kind, packet.namespace or "/", packet.id, packet.data


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary(max_size=20)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=8,
)
ARGS = st.lists(VALUES, max_size=3)
ROOMS = st.sampled_from(["one", "two"])
EVENTS = st.one_of(
    st.tuples(st.sampled_from(["echo", "everyone"]), ARGS).map(lambda e: [e[0], *e[1]]),
    st.tuples(st.sampled_from(["enter", "quit"]), ROOMS).map(list),
    st.tuples(st.sampled_from(["tell", "others"]), ROOMS, ARGS).map(lambda e: [*e[:2], *e[2]]),
)
IDS = st.none() | st.integers(1, 10**6)
TRAFFIC = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(NAMESPACES), EVENTS, IDS), max_size=8
)


@asynccontextmanager
async def two(url: str) -> AsyncIterator[list[Client]]:
    async with AsyncExitStack() as stack:
        clients = [Client(await stack.enter_async_context(raw(url))) for _ in range(2)]
        for client in clients:
            await client.join()
        yield clients


async def answers(url: str, traffic: Sequence[tuple[int, str, list[object], int | None]]) -> object:
    async with two(url) as clients:
        for number, namespace, event, ack in traffic:
            await clients[number].send(namespace, event, ack)
            # The sender first: then what it caused is on its way to the other.
            for client in (clients[number], clients[1 - number]):
                await client.settle()
        return [client.seen for client in clients]


def test_what_python_socketio_sends_is_sent(tmp_path) -> None:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def start() -> tuple[str, str]:
            gateway = served(write(tmp_path, CONFIG, chat=PLUGIN))
            return (
                await stack.enter_async_context(_serve(stock())),
                await stack.enter_async_context(gateway),
            )

        theirs, ours = runner.run(start())

        @settings(max_examples=50, derandomize=True, deadline=None, database=None)
        @given(TRAFFIC)
        def compare(traffic) -> None:
            expected = runner.run(answers(theirs, traffic))
            assert runner.run(answers(ours, traffic)) == expected

        try:
            compare()
        finally:
            runner.run(stack.aclose())
