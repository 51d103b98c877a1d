"""A gateway without a network, for the tests of plugins.

    async with TestGateway("gateway.yaml") as gateway:
        client = await gateway.connect("/chat", auth={"token": "secret"})
        assert await client.call("send", "hello") == [{"ok": True}]
        event = await client.receive("message")
        assert event.args == ["hello"]

Only the network is missing: clients connect through a WebSocket in memory, and everything else is
real, including the Engine.IO sessions. So tests can cover limits, violations and slow clients too.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl

from gateway.api import Value
from gateway.compiler import Build, load
from gateway.engineio.frames import Frames
from gateway.engineio.handshake import PendingHandshake
from gateway.engineio.packet import MESSAGE, PING, PONG
from gateway.engineio.packet import Packet as EnginePacket
from gateway.engineio.packet import PacketError as EnginePacketError
from gateway.engineio.session import Session
from gateway.engineio.settings import Settings
from gateway.errors import GatewayError
from gateway.http.proxies import Sender
from gateway.http.request import Request
from gateway.http.response import Answer
from gateway.limits import Limits
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
from gateway.socketio.server import Server

__all__ = ["Event", "Refused", "TestClient", "TestGateway"]

LOOPBACK = Sender("127.0.0.1", is_secure=False, host="")
FULL = "the gateway takes no more connections: HTTP 503"


@dataclass(frozen=True, slots=True)
class Event:
    """An event from the gateway. `id` is its ack id; `None` if it asks for no ack."""

    name: str
    args: list[Value]
    id: int | None = None


class Refused(GatewayError):
    """A refused connection, which clients see as `connect_error`.

    `status` is the HTTP status of a handshake that was refused, `None` if a connection chain has
    refused. `data` has the code in both cases.
    """

    def __init__(self, message: str, data: Value, status: int | None = None) -> None:
        self.message = message
        self.data = data
        self.status = status
        super().__init__(message, data)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A session that has opened, and the header fields that handshake middleware has added."""

    session: Session
    fields: str = ""


class TestGateway:
    """A gateway in this process, made from `file` exactly as the daemon makes it.

    Entering it raises `ConfigError` for a file that the daemon would refuse. `gateway` is the
    emitter that services get. `drain` is the time, in seconds, that handlers in flight get at the
    end.
    """

    __test__ = False

    def __init__(
        self, file: str | os.PathLike[str], environ: Mapping[str, str] = os.environ
    ) -> None:
        self._file = Path(file)
        self._environ = environ
        self._server = Server(Settings(), Limits(overload_after=inf))
        self._build: Build | None = None
        self.drain = 5.0
        self.gateway = self._server.hub.gateway

    async def __aenter__(self) -> Self:
        await self.reload()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._server.live.drain(self.drain)
        await self._server.engine.shutdown()
        await self._server.live.close(self.drain)

    async def reload(self) -> None:
        """Read the file and its plugins again; clients stay connected."""
        build = load(self._file, self._environ, former=self._build)
        self._server.live.swap(await self._server.start(build.blueprint))
        server = build.config.server
        settings = Settings(
            ping_interval=server.ping_interval,
            ping_timeout=server.ping_timeout,
            trusted_proxies=server.trusted_proxies,
        )
        # No overload: a test may block the loop itself.
        self._server.configure(settings, replace(build.config.limits, overload_after=inf))
        self._build = build

    async def connect(
        self,
        namespace: str = "/",
        *,
        auth: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        query: str = "",
        timeout: float = 5.0,
        beside: TestClient | None = None,
    ) -> TestClient:
        """Connect a new client. Raises `Refused` if the gateway refuses it.

        `query` is a query string such as `room=7&debug=1`. `timeout` is in seconds and applies to
        every wait of the client. With `beside`, it shares that client's connection, whose headers
        and query it has too; the two are in different namespaces.
        """
        client = self.client(
            namespace, auth=auth, headers=headers, query=query, timeout=timeout, beside=beside
        )
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
        beside: TestClient | None = None,
    ) -> TestClient:
        """Make a client that is not connected yet, with the arguments of `connect`."""
        if beside is not None:
            carrier = beside._carrier

            async def share() -> _Opened:
                if carrier.session is None:
                    raise ConnectionError("the connection of the other client is not open")
                return _Opened(carrier.session)

            return TestClient(share, namespace, auth, timeout, carrier)
        first_of_each = dict(reversed(parse_qsl(query, keep_blank_values=True)))
        request = Request(
            method="GET",
            path="/socket.io/",
            query={**first_of_each, "transport": "websocket", "EIO": "4"},
            url=f"/socket.io/?{query}",
            headers={name.lower(): value for name, value in (headers or {}).items()},
        )
        return TestClient(partial(self._enter, request), namespace, auth, timeout)

    async def _enter(self, request: Request) -> _Opened:
        """Open a session, as soon as the handshake middleware lets it pass. Raises `Refused`."""
        engine = self._server.engine
        sender = engine.sender(request, LOOPBACK)
        address, is_secure, *_ = sender
        gate = engine.find_gate()
        if gate is None:
            session = engine.open(request, sender)
            if session is None:
                raise ConnectionError(FULL)
            return _Opened(session)
        if not engine.admit(address):
            raise ConnectionError(FULL)
        answer = _HandshakeAnswer()
        pending = PendingHandshake(engine, answer, request, address, is_secure=is_secure)
        pending.begin(gate)
        try:
            return await answer.opened
        finally:
            pending.cancel()


class TestClient:
    """One client in one namespace. `connected` turns false when the gateway ends it.

    `headers` and `cookies` are those that handshake middleware has set on the answer.
    """

    __test__ = False

    def __init__(
        self,
        enter: Callable[[], Awaitable[_Opened]],
        namespace: str,
        auth: Mapping[str, object] | None,
        timeout: float,
        carrier: _Carrier | None = None,
    ) -> None:
        self.id = ""
        self.connected = False
        self.headers: dict[str, str] = {}
        self.cookies: dict[str, str] = {}
        self._enter = enter
        self._carrier = carrier or _Carrier()
        self._arrived = self._carrier.inbox(namespace)
        self._namespace = namespace
        self._auth = auth
        self._timeout = timeout
        self._ids = count()

    async def connect(self) -> None:
        """Connect and wait for the answer.

        Raises `Refused`, `TimeoutError`, and `ConnectionError` if the gateway accepts no more
        connections.
        """
        async with asyncio.timeout(self._timeout):
            opened = await self._enter()
        self._read(opened.fields)
        self._carrier.open(opened.session)
        await self._send(CONNECT, None if self._auth is None else dict(self._auth))
        packet = await self._wait(lambda p: p.packet_type in (CONNECT, CONNECT_ERROR))
        if packet.packet_type == CONNECT_ERROR:
            raise Refused(packet.data["message"], packet.data.get("data"))
        self.id = packet.data["sid"]
        self.connected = True

    async def emit(self, event: str, *args: object) -> None:
        """Send an event without asking for an ack."""
        await self._send(EVENT, [event, *args])

    async def call(self, event: str, *args: object) -> list[Value]:
        """Send an event and return the arguments of its ack. Raises `TimeoutError`."""
        ack = next(self._ids)
        await self._send(EVENT, [event, *args], ack)
        packet = await self._wait(lambda p: p.packet_type in (ACK, BINARY_ACK) and p.id == ack)
        await asyncio.sleep(0)  # or a loop of calls would never let anything else happen
        answer: list[Value] = packet.data
        return answer

    async def receive(self, event: str | None = None, timeout: float | None = None) -> Event:
        """Wait for the next event, or the next with this name. Raises `TimeoutError`.

        `timeout` is in seconds; `None` means the client's own.
        """
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
        """Drop the connection without a close frame."""
        self._carrier.lose()
        self.connected = False

    async def wait_disconnected(self) -> None:
        """Wait until the gateway ends this client, or its connection. Raises `TimeoutError`."""
        with suppress(ConnectionError):
            await self._wait(lambda p: p.packet_type == DISCONNECT)
        self.connected = False

    async def send(self, *messages: str | bytes) -> None:
        """Send raw Socket.IO packets: text, or the bytes of an attachment.

        Tests use it for packets that a correct client never sends.
        """
        for message in messages:
            packet = MESSAGE + message if isinstance(message, str) else message
            await self._carrier.arrive(packet)

    def pause(self) -> None:
        """Stop reading, as a slow client does: packets for it wait in the gateway."""
        self._carrier.pause()

    def resume(self) -> None:
        """Read again."""
        self._carrier.resume()

    def _read(self, fields: str) -> None:
        for line in fields.splitlines():
            name, _, value = line.partition(": ")
            if name == "Set-Cookie":
                cookie, _, value = value.partition(";")[0].partition("=")
                self.cookies[cookie] = value
            else:
                self.headers[name] = value

    async def _send(self, kind: int, data: object, ack: int | None = None) -> None:
        await self.send(*Packet(kind, data, self._namespace, ack).encode())

    async def _wait(self, wanted: Callable[[Packet], bool], timeout: float | None = None) -> Packet:
        async with asyncio.timeout(self._timeout if timeout is None else timeout):
            return await self._arrived.take(wanted)


class _Inbox:
    """Packets that have arrived for one client and are not taken yet."""

    def __init__(self) -> None:
        self._packets: list[Packet] = []
        self._is_closed = False
        self._changed = asyncio.Event()

    def put(self, packet: Packet) -> None:
        self._packets.append(packet)
        self._changed.set()

    def close(self) -> None:
        self._is_closed = True
        self._changed.set()

    async def take(self, wanted: Callable[[Packet], bool]) -> Packet:
        """Wait for a packet. Raises `ConnectionError` once no more can come."""
        while True:
            for at, packet in enumerate(self._packets):
                if wanted(packet):
                    return self._packets.pop(at)
            if self._is_closed:
                raise ConnectionError("the gateway has closed the connection")
            self._changed.clear()
            await self._changed.wait()


class _HandshakeAnswer:
    """The answer to a handshake."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[_Opened] = asyncio.get_running_loop().create_future()

    def accepted(self, session: Session, fields: str) -> None:
        self.opened.set_result(_Opened(session, fields))

    def refused(self, answer: Answer) -> None:
        if not answer.body:
            self.opened.set_exception(ConnectionError(FULL))
            return
        reason = json.loads(answer.body)
        message = reason.pop("message")
        self.opened.set_exception(Refused(message, reason, answer.status))


class _Carrier:
    """A WebSocket in memory, which one or more clients share.

    Packets from the gateway wait in an inbox for each namespace.
    """

    def __init__(self) -> None:
        self.is_closed = False
        self.session: Session | None = None
        self._inboxes: dict[str, _Inbox] = {}
        self._newest = Packet()
        self._attachments: list[bytes] = []

    def inbox(self, namespace: str) -> _Inbox:
        """Make the inbox of a client in a namespace."""
        inbox = self._inboxes[namespace] = _Inbox()
        return inbox

    def open(self, session: Session) -> None:
        """Carry a session from now on, unless it does so already."""
        if self.session is None:
            self.session = session
            session.open(self)

    # Called by the session

    @property
    def buffered(self) -> int:
        return 0

    def send(self, packet: EnginePacket) -> None:
        if packet == PING:
            asyncio.get_running_loop().call_soon(self._pong)
        elif isinstance(packet, bytes):
            self._attachments.append(packet)
            self._deliver_whole()
        elif packet.startswith(MESSAGE):
            self._newest = Packet(encoded_packet=packet.removeprefix(MESSAGE))
            self._deliver_whole()

    def send_many(self, frames: Frames) -> None:
        for packet in frames.packets:
            self.send(packet)

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            for inbox in self._inboxes.values():
                inbox.close()

    # Called by the client

    async def arrive(self, packet: EnginePacket) -> None:
        """Pass a packet to the session, and wait until it accepts the next."""
        if self.session is None:
            return
        try:
            waiting = self.session.receive_on(self, packet)
        except EnginePacketError as error:
            self.session.count_violation("engine_packet", error)
            self.session.lost(self, "parse error")
            return
        if waiting is not None:
            await waiting

    def lose(self) -> None:
        self.is_closed = True
        if self.session is not None:
            self.session.lost(self, "transport close")

    def pause(self) -> None:
        if self.session is not None:
            self.session.pause(self)

    def resume(self) -> None:
        if self.session is not None:
            self.session.resume(self)

    def _deliver_whole(self) -> None:
        """Deliver the newest packet, if its attachments are there."""
        packet, attachments = self._newest, self._attachments
        if len(attachments) < packet.attachment_count:
            return
        if attachments:
            packet.fill(attachments)
            attachments.clear()
        first = next(iter(self._inboxes.values()))  # its namespace may be written in another way
        self._inboxes.get(packet.namespace, first).put(packet)

    def _pong(self) -> None:
        if self.session is not None:
            self.session.receive_on(self, PONG)
