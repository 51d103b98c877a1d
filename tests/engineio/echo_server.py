"""A server that echoes, and the other end of the wire, byte by byte.

Every wait has a time limit. `receive` answers pings as a client does and returns what is not one;
`frame` and `poll` return whatever comes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
from aiohttp import WSMsgType

from gateway.engineio.packet import Message, Packet
from gateway.engineio.receiver import Reason
from gateway.engineio.session import Session
from gateway.http.connection import HttpConnection
from gateway.http.exchange import Exchange
from gateway.http.request import Request
from tests.deadline import deadline, until
from tests.engineio.echo import Hooks, echo, echo_engine

WEBSOCKET = """\
GET /engine.io/?EIO=4&transport=websocket HTTP/1.1
Host: x
Connection: Upgrade
Upgrade: websocket
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==

"""


def refused(code: int, message: str, hint: str = "") -> str:
    """The text that engine.io refuses with; the hint is ours."""
    more = f',"hint":"{hint}"' if hint else ""
    return f'{{"code":{code},"message":"{message}"{more}}}'


UNKNOWN_TRANSPORT = refused(0, "Transport unknown")
UNKNOWN_SESSION = refused(1, "Session ID unknown")
BAD_METHOD = refused(2, "Bad handshake method")
BAD_REQUEST = refused(3, "Bad request")
OLD = "this server speaks Engine.IO 4: use socket.io-client 3 or 4"
UNSUPPORTED = refused(5, "Unsupported protocol version", OLD)


class News:
    """Wakes who waits for something to become true."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def tell(self) -> None:
        """Something has happened."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.cancelled() or waiter.set_result(None)

    async def until(self, fact: Callable[[], bool]) -> None:
        async with deadline():
            while not fact():
                waiter = asyncio.get_running_loop().create_future()
                self._waiting.append(waiter)
                await waiter


class Server:
    """An engine that echoes at `/engine.io/`, and remembers what came and who left.

    `posts` counts the POST requests, each as its head has come.
    """

    def __init__(self, **options: Any) -> None:
        self.hooks = Hooks(message=self._received, disconnect=self._left)
        self.engine = echo_engine(self.hooks, **options)
        self.http = self.engine.http_server("/engine.io/")
        self.http.routes = dict.fromkeys(self.http.routes, self._respond)
        self.received: list[Message] = []
        self.reasons: dict[str, Reason] = {}
        self.posts = 0
        self.news = News()

    async def __aenter__(self) -> Self:
        self._site = await asyncio.get_running_loop().create_server(self.http, "127.0.0.1", 0)
        self.port = int(self._site.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Shut the engine down, and then the connections."""
        self._site.close()
        await self.engine.shutdown()
        await self.http.shutdown()

    def session(self, sid: str) -> Session:
        """The session with this id, which is there."""
        return self.engine.sessions[sid]

    async def posted(self) -> None:
        """Wait until the head of a POST request has come."""
        await self.news.until(lambda: self.posts > 0)

    def is_polled(self, sid: str) -> bool:
        """True if a session has a poll that waits."""
        polling = self.session(sid).polling
        return polling is not None and polling.is_ready

    async def polled(self, sid: str) -> None:
        """Wait until a session has a poll that waits."""
        await until(lambda: self.is_polled(sid))

    def abort(self) -> None:
        """Drop all connections that are no WebSockets."""
        for connection in tuple(self.http.connections):
            connection.abort()

    async def unconnected(self) -> None:
        """Wait until no connection is left."""
        await until(lambda: not (self.http.connections or self.engine.websockets))

    async def reason(self, sid: str) -> Reason:
        """Wait until a session is over; why it is."""
        await self.news.until(lambda: sid in self.reasons)
        return self.reasons[sid]

    def _respond(self, request: Request, connection: HttpConnection) -> Exchange | None:
        exchange = self.engine.respond(request, connection)
        self.posts += request.method == "POST"
        self.news.tell()
        return exchange

    def _received(self, session: Session, message: Message) -> None:
        self.received.append(message)
        self.news.tell()
        echo(session, message)

    def _left(self, session: Session, reason: Reason) -> None:
        assert session.id not in self.reasons, "told twice"
        self.reasons[session.id] = reason
        self.news.tell()


@asynccontextmanager
async def connected(
    port: int, request: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection on which a request was sent, its lines ended by `\\n`; aborted in the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.replace("\n", "\r\n").encode())
    try:
        async with deadline():
            yield reader, writer
    finally:
        writer.transport.abort()


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response."""

    status: int
    body: str
    headers: Any
    reason: str

    @property
    def packets(self) -> list[str]:
        """What a poll was answered with."""
        assert self.status == 200, self
        return self.body.split("\x1e")


class Stream:
    """A WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.handshake: dict[str, Any] = {}

    @property
    def sid(self) -> str:
        return str(self.handshake["sid"])

    async def send(self, *packets: Packet) -> None:
        """Send each in a frame."""
        for packet in packets:
            if isinstance(packet, str):
                await self.socket.send_str(packet)
            else:
                await self.socket.send_bytes(packet)

    async def frame(self) -> Packet | None:
        """The next frame; `None` is the end of the connection."""
        async with deadline():
            message = await self.socket.receive()
        return message.data if message.type in {WSMsgType.TEXT, WSMsgType.BINARY} else None

    async def receive(self) -> Packet | None:
        """The next frame that is no ping."""
        while (packet := await self.frame()) == "2":
            await self.send("3")
        return packet

    async def upgrade(self) -> None:
        """Make this the session's transport."""
        await self.send("2probe")
        assert await self.frame() == "3probe"
        await self.send("5")

    @property
    def close_code(self) -> int | None:
        return self.socket.close_code


class Wire:
    """A raw client of one server; its session, if it opened one, is `sid`."""

    def __init__(self, port: int, http: aiohttp.ClientSession) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/engine.io/"
        self.http = http
        self.sid = ""
        self.handshake: dict[str, Any] = {}

    async def request(self, method: str, body: Any = None, **how: Any) -> Answer:
        """A request; `EIO`, `transport` and `sid` are right unless given, left out if `None`."""
        headers = how.pop("headers", {})
        given = {"EIO": "4", "transport": "polling", "sid": self.sid or None} | how
        params = {name: value for name, value in given.items() if value is not None}
        async with (
            deadline(),
            self.http.request(
                method, self.url, params=params, data=body, headers=headers
            ) as response,
        ):
            reason = response.reason or ""
            return Answer(response.status, await response.text(), response.headers, reason)

    async def open(self) -> Self:
        """Open a session on polling."""
        answer = await self.request("GET")
        (packet,) = answer.packets
        assert packet[0] == "0"
        self.handshake = json.loads(packet[1:])
        self.sid = self.handshake["sid"]
        return self

    async def post(self, body: Any, **how: Any) -> Answer:
        return await self.request("POST", body, **how)

    async def poll(self, **how: Any) -> Answer:
        return await self.request("GET", **how)

    async def receive(self, number: int = 1) -> list[str]:
        """Poll until that many packets came that are no pings."""
        packets: list[str] = []
        while len(packets) < number:
            for packet in (await self.poll()).packets:
                if packet == "2":
                    await self.post("3")
                else:
                    packets.append(packet)
        return packets

    def raw(
        self, method: str, head: str
    ) -> AbstractAsyncContextManager[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A request by hand, its body left out."""
        path = f"/engine.io/?EIO=4&transport=polling&sid={self.sid}"
        return connected(self.port, f"{method} {path} HTTP/1.1\nHost: x\n{head}\n")

    @asynccontextmanager
    async def stream(self, **how: Any) -> AsyncIterator[Stream]:
        """A WebSocket with the session's id, if there is a session."""
        given = {"EIO": "4", "transport": "websocket", "sid": self.sid or None} | how
        params = {name: value for name, value in given.items() if value is not None}
        async with self.http.ws_connect(self.url, params=params) as socket:
            yield Stream(socket)

    @asynccontextmanager
    async def streaming(self, **query: str) -> AsyncIterator[Stream]:
        """A session on WebSocket."""
        async with self.stream(sid=None, **query) as stream:
            packet = await stream.frame()
            assert isinstance(packet, str)
            assert packet[0] == "0"
            stream.handshake = json.loads(packet[1:])
            yield stream

    @asynccontextmanager
    async def waiting_poll(self, server: Server) -> AsyncIterator[asyncio.Task[Answer]]:
        """A poll that the server has."""
        task = asyncio.create_task(self.poll())
        try:
            await server.polled(self.sid)
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])
