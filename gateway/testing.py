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
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gateway.api import Gateway, Value
from gateway.compiler import load
from gateway.errors import GatewayError
from gateway.transport.adapter import Adapter
from gateway.transport.packet import (
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
    emitter that services are given.
    """

    __test__ = False

    def __init__(
        self, file: str | os.PathLike[str], environ: Mapping[str, str] = os.environ
    ) -> None:
        self._file = Path(file)
        self._environ = environ
        self._adapter = Adapter(_Engine, {})
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
        await self._engine.shutdown()
        await self._adapter.live.close(5.0)

    async def reload(self) -> None:
        """Read the file and its plugins again; clients stay connected."""
        live = self._adapter.live
        former = live.current.blueprint if live.current else None
        _, blueprint = load(self._file, self._environ, former=former)
        live.swap(await live.start(blueprint))

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
        environ = {
            "QUERY_STRING": query,
            "RAW_URI": f"/socket.io/?{query}",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.url_scheme": "http",
        }
        for name, value in (headers or {}).items():
            environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
        session = await self._engine.open(environ)
        client = TestClient(session, namespace, timeout)
        await client._connect(auth)
        return client

    @property
    def _engine(self) -> _Engine:
        engine: _Engine = self._adapter.server.eio
        return engine


class TestClient:
    """One client in one namespace. `connected` turns false when the gateway ends it."""

    __test__ = False

    def __init__(self, session: _Session, namespace: str, timeout: float) -> None:
        self.id = ""
        self.connected = False
        self._session = session
        self._namespace = namespace
        self._timeout = timeout
        self._ids = count()
        self._kept: list[Packet] = []

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

    async def receive(self, event: str | None = None) -> Event:
        """The next event, or the next of this name. Raises `TimeoutError`."""
        packet = await self._wait(
            lambda p: p.packet_type in (EVENT, BINARY_EVENT) and event in (None, p.data[0])
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
        await self._session.end("transport close")
        self.connected = False

    async def wait_disconnected(self) -> None:
        """Wait until the gateway ends this client. Raises `TimeoutError`."""
        await self._wait(lambda p: p.packet_type == DISCONNECT)
        self.connected = False

    async def _connect(self, auth: Mapping[str, object] | None) -> None:
        await self._send(CONNECT, None if auth is None else dict(auth))
        packet = await self._wait(lambda p: p.packet_type in (CONNECT, CONNECT_ERROR))
        if packet.packet_type == CONNECT_ERROR:
            raise Refused(packet.data["message"], packet.data.get("data"))
        self.id = packet.data["sid"]
        self.connected = True

    async def _send(self, kind: int, data: object, ack: int | None = None) -> None:
        for frame in Packet(kind, data, self._namespace, ack).encode():
            await self._session.arrive(frame)

    async def _wait(self, wanted: Callable[[Packet], bool]) -> Packet:
        async with asyncio.timeout(self._timeout):
            while True:
                for at, packet in enumerate(self._kept):
                    if wanted(packet):
                        return self._kept.pop(at)
                self._kept.append(await self._session.next_packet())


class _Session:
    """An Engine.IO session in memory: what the gateway sends waits in a queue."""

    def __init__(self, id: str, engine: _Engine) -> None:
        self.id = id
        self._engine = engine
        self._sent: asyncio.Queue[Sequence[Frame]] = asyncio.Queue()

    def send_many(self, frames: Sequence[Frame]) -> None:
        self._sent.put_nowait(frames)

    async def next_packet(self) -> Packet:
        text, *attachments = await self._sent.get()
        packet = Packet(encoded_packet=text)
        for attachment in attachments:
            packet.add_attachment(bytes(attachment))  # type: ignore[arg-type]
        return packet

    async def arrive(self, frame: Frame) -> None:
        await self._engine.handlers["message"](self.id, frame)

    async def end(self, reason: str) -> None:
        await self._engine.disconnect(self.id, reason)


class _Engine:
    """The calls that python-socketio makes of its Engine.IO server, without a network."""

    async_mode = "memory"

    def __init__(self, **options: object) -> None:
        self.handlers: dict[str, Callable[..., Awaitable[None]]] = {}
        self.sessions: dict[str, _Session] = {}
        self._ids = count(1)

    def on(self, event: str, handler: Callable[..., Awaitable[None]]) -> None:
        self.handlers[event] = handler

    def generate_id(self) -> str:
        return f"id{next(self._ids)}"

    async def open(self, environ: Mapping[str, Any]) -> _Session:
        session = _Session(self.generate_id(), self)
        self.sessions[session.id] = session
        await self.handlers["connect"](session.id, environ)
        return session

    async def disconnect(self, id: str, reason: str = "forced close") -> None:
        if self.sessions.pop(id, None) is not None:
            await self.handlers["disconnect"](id, reason)

    async def shutdown(self) -> None:
        for id in tuple(self.sessions):
            await self.disconnect(id, "server shutting down")
