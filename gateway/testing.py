"""Drive a gateway without a network: for the tests of those who write plugins.

    async with TestGateway("gateway.yaml") as gateway:
        client = await gateway.connect("/chat", auth={"token": "secret"})
        assert await client.call("send", "hello") == [{"ok": True}]
        event = await client.receive("message")
        assert event.args == ["hello"]

Everything is the real thing but the Engine.IO sessions, which live in memory.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl

from gateway.api import Gateway, Value
from gateway.compiler import Build, load
from gateway.engineio.frame import Frames
from gateway.engineio.opening import Opening
from gateway.errors import GatewayError
from gateway.socketio.adapter import Adapter
from gateway.socketio.packet import (
    ACK,
    BINARY_ACK,
    BINARY_EVENT,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    Packet,
)

__all__ = ["Event", "Refused", "TestClient", "TestGateway"]

Frame = str | bytes


@dataclass(frozen=True, slots=True)
class Event:
    """An event the gateway sent. `id` is that of the ack it asks for, `None` for none."""

    name: str
    args: list[Value]
    id: int | None = None


class Refused(GatewayError):
    """The gateway refused the connection: what a client sees as `connect_error`."""

    def __init__(self, message: str, data: Value) -> None:
        self.message = message
        self.data = data
        super().__init__(message, data)


class TestGateway:
    """A gateway in this process, made from `file` exactly as the daemon makes it.

    Raises `ConfigError` when entered with a file the daemon would refuse. `gateway` is the
    emitter that services are given, `drain` the seconds that handlers in flight get at the end.
    """

    __test__ = False

    def __init__(
        self, file: str | os.PathLike[str], environ: Mapping[str, str] = os.environ
    ) -> None:
        self._file = Path(file)
        self._environ = environ
        self._adapter = Adapter(_Engine, {})
        self._build: Build | None = None
        self.drain = 5.0
        self.gateway = Gateway(self._adapter)

    async def __aenter__(self) -> Self:
        await self.reload()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._adapter.live.drain(self.drain)
        self._engine.shutdown()
        await self._adapter.live.close(self.drain)

    async def reload(self) -> None:
        """Read the file and its plugins again; clients stay connected."""
        build = load(self._file, self._environ, former=self._build)
        live = self._adapter.live
        live.swap(await live.start(build.blueprint))
        # How late the loop of a test runs is the test's own doing.
        self._adapter.limit(replace(build.blueprint.limits, overload_after=inf))
        self._build = build

    async def connect(
        self,
        namespace: str = "/",
        *,
        auth: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        query: str = "",
        timeout: float = 5.0,
    ) -> TestClient:
        """A client that has been accepted. Raises `Refused` when it is not.

        `query` is a query string such as `room=7&debug=1`; `timeout` is in seconds and holds for
        every wait of the client.
        """
        client = self.client(namespace, auth=auth, headers=headers, query=query, timeout=timeout)
        await client.connect()
        return client

    def client(
        self,
        namespace: str = "/",
        *,
        auth: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        query: str = "",
        timeout: float = 5.0,
    ) -> TestClient:
        """A client that has not connected yet, with the arguments of `connect`."""
        opening = Opening(
            query=dict(reversed(parse_qsl(query, keep_blank_values=True))),  # the first of a name
            headers={name.lower(): value for name, value in (headers or {}).items()},
            address="127.0.0.1",
            url=f"/socket.io/?{query}",
            secure=False,
        )
        session = _Session(self._engine, partial(self._adapter.server.open, opening=opening))
        return TestClient(session, namespace, auth, timeout)

    @property
    def _engine(self) -> _Engine:
        engine: _Engine = self._adapter.server.eio
        return engine


class TestClient:
    """One client in one namespace. `connected` turns false when the gateway ends it."""

    __test__ = False

    def __init__(
        self,
        session: _Session,
        namespace: str,
        auth: Mapping[str, object] | None,
        timeout: float,
    ) -> None:
        self.id = ""
        self.connected = False
        self._session = session
        self._namespace = namespace
        self._auth = auth
        self._timeout = timeout
        self._ids = count()
        self._kept: list[Packet] = []

    async def connect(self) -> None:
        """Connect and wait for the answer. Raises `Refused`, `TimeoutError`."""
        self._session.open()
        await self._send(CONNECT, None if self._auth is None else dict(self._auth))
        packet = await self._wait(lambda p: p.packet_type in (CONNECT, CONNECT_ERROR))
        if packet.packet_type == CONNECT_ERROR:
            raise Refused(packet.data["message"], packet.data.get("data"))
        self.id = packet.data["sid"]
        self.connected = True

    async def emit(self, event: str, *args: object) -> None:
        """Send an event and ask for no ack."""
        await self._send(EVENT, [event, *args])

    async def call(self, event: str, *args: object) -> list[Value]:
        """Send an event and return the arguments of its ack. Raises `TimeoutError`."""
        ack = next(self._ids)
        await self._send(EVENT, [event, *args], ack)
        packet = await self._wait(lambda p: p.packet_type in (ACK, BINARY_ACK) and p.id == ack)
        answer: list[Value] = packet.data
        return answer

    async def receive(self, event: str | None = None, timeout: float | None = None) -> Event:
        """The next event, or the next of this name. Raises `TimeoutError`."""
        packet = await self._wait(
            lambda p: p.packet_type in (EVENT, BINARY_EVENT) and event in (None, p.data[0]),
            timeout,
        )
        return Event(packet.data[0], packet.data[1:], packet.id)

    async def answer(self, event: Event, *args: object) -> None:
        """Answer an event that asked for an ack."""
        await self._send(ACK, list(args), event.id)

    async def disconnect(self) -> None:
        """Leave the namespace, as a client's `disconnect()` does."""
        await self._send(DISCONNECT, None)
        self.connected = False

    async def lose(self) -> None:
        """Lose the connection without a word."""
        self._session.end("transport close")
        self.connected = False

    async def wait_disconnected(self) -> None:
        """Wait until the gateway ends this client. Raises `TimeoutError`."""
        await self._wait(lambda p: p.packet_type == DISCONNECT)
        self.connected = False

    async def _send(self, kind: int, data: object, ack: int | None = None) -> None:
        for frame in Packet(kind, data, self._namespace, ack).encode():
            await self._session.arrive(frame)

    async def _wait(self, wanted: Callable[[Packet], bool], timeout: float | None = None) -> Packet:
        async with asyncio.timeout(self._timeout if timeout is None else timeout):
            while True:
                for at, packet in enumerate(self._kept):
                    if wanted(packet):
                        return self._kept.pop(at)
                self._kept.append(await self._session.next_packet())


class _Session:
    """An Engine.IO session in memory: what the gateway sends waits in a queue."""

    def __init__(self, engine: _Engine, enter: Callable[[_Session], None]) -> None:
        self.id = engine.generate_id()
        self.owner: Any = None
        self._engine = engine
        self._enter = enter
        self._sent: asyncio.Queue[Frames] = asyncio.Queue()

    def open(self) -> None:
        self._engine.sessions[self.id] = self
        self._enter(self)

    def send_many(self, frames: Frames, droppable: bool = False) -> None:
        self._sent.put_nowait(frames)

    async def next_packet(self) -> Packet:
        text, *attachments = (await self._sent.get()).packets
        packet = Packet(encoded_packet=text[1:])
        for attachment in attachments:
            assert isinstance(attachment, bytes)
            packet.add_attachment(attachment)
        return packet

    async def arrive(self, frame: Frame) -> None:
        if self.id in self._engine.sessions:
            answer = self._engine.on_message(self, frame)
            if answer is not None:
                await answer

    def offends(self, kind: str, why: object) -> None:
        """Nobody counts; what comes of it is the end of the session."""

    def meets(self, limit: str, why: object) -> None:
        """Nobody counts; what comes of it is told to the client."""

    def hold(self, seconds: float) -> None:
        """There is no ping to be answered meanwhile."""

    def end(self, reason: str) -> None:
        if self._engine.sessions.pop(self.id, None) is not None:
            self._engine.on_disconnect(self, reason)


class _Engine:
    """What a `transport.Server` needs of an Engine.IO server, without a network."""

    async_mode = "memory"
    on_message: Callable[[_Session, Frame], Awaitable[None] | None]
    on_disconnect: Callable[[_Session, str], None]

    def __init__(self, **options: object) -> None:
        self.sessions: dict[str, _Session] = {}
        self._ids = count(1)

    def on(self, event: str, handler: object) -> None:
        """python-socketio's own handlers are not called."""

    def generate_id(self) -> str:
        return f"id{next(self._ids)}"

    def shutdown(self) -> None:
        for session in tuple(self.sessions.values()):
            session.end("server shutting down")
