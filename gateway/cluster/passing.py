"""Passing: connections that become WebSockets of sessions that another member owns.

The descriptor of the connection goes to the owner, with the request as it was read and the bytes
that came after it; from there on nothing of it passes through here. Where that is impossible, as
with TLS in this process, the owner gets one end of a pair of sockets, and the bytes are relayed.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Literal, cast

import msgspec

from gateway.cluster.link_greeting import Line
from gateway.cluster.peer import MOST_PASSED, Peer
from gateway.cluster.requests import Head, PassedRequest, encode, head_of
from gateway.engineio.transports import CLOSE_LIMIT
from gateway.http.connection import HttpConnection, HttpServer
from gateway.http.exchange import Connection
from gateway.http.proxy_protocol import Announced
from gateway.http.request import Request

__all__ = ["Passing"]


class Passing:
    """Gives connections of `server` to peers, and takes those that peers give."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._relays: set[_Relay] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._requests = msgspec.msgpack.Decoder(PassedRequest)

    @property
    def relayed(self) -> int:
        """The number of connections that are relayed from here."""
        return len(self._relays)

    def close(self) -> None:
        """End what is relayed, and connections on their way here."""
        for relay in tuple(self._relays):
            relay.abort()
        for task in tuple(self._connecting):
            task.cancel()

    def give(
        self, peer: Peer, request: Request, connection: Connection
    ) -> Literal["passed", "relayed"] | None:
        """Give the connection of a request for a WebSocket; `None` if it is lost."""
        head, detached = head_of(request, connection), connection.detach()
        if detached is None:
            return None
        transport, tail = detached
        payload = encode(PassedRequest(head, tail))
        is_bare = transport.get_extra_info("sslcontext") is None
        if is_bare and len(payload) <= MOST_PASSED and not transport.get_write_buffer_size():
            if not peer.pass_connection(transport.get_extra_info("socket"), payload):
                transport.abort()
                return None
            # Closes the descriptor and nothing else: the connection is open at the owner.
            transport.set_protocol(asyncio.Protocol())
            transport.abort()
            return "passed"
        return "relayed" if self._relay(peer, transport, head, tail) else None

    def _relay(self, peer: Peer, transport: asyncio.Transport, head: Head, tail: bytes) -> bool:
        near, far = socket.socketpair()
        with far:
            is_passed = peer.pass_connection(far, encode(PassedRequest(head, b"")))
        if not is_passed:
            near.close()
            transport.abort()
            return False
        near.setblocking(False)
        relay = _Relay(transport, tail, self._ended)
        self._relays.add(relay)
        self._server.relays.add(relay)
        self._start(self._connect_relay(near, relay))
        return True

    def carry(self, client: asyncio.Transport, early: bytes, line: Line) -> None:
        """Relay a client's connection to its owner on a line, who gets `early` first."""
        relay = _Relay(client, early, self._ended)
        self._relays.add(relay)
        self._server.relays.add(relay)
        try:
            line.hand_over(relay.owner)
        except ConnectionError:
            relay.abort()

    def enter(self, line: Line, payload: bytes) -> None:
        """Go on with a request whose connection another member relays on a line.

        Raises `msgspec.MsgspecError` for a payload that is none, `ConnectionError` if it is over.
        """
        passed = self._requests.decode(payload)
        if self._server.has_room(passed.head.address):
            connection = _PassedConnection(self._server, passed)
            self._server.handshakes.add(connection)
            try:
                line.hand_over(connection)
            finally:
                self._server.handshakes.discard(connection)
        else:
            line.abort()

    def _ended(self, relay: _Relay) -> None:
        self._relays.discard(relay)
        self._server.relays.discard(relay)

    def take(self, peer: Peer, sock: socket.socket, payload: bytes) -> None:
        """Take a connection that a peer gives, and go on with its request."""
        passed = self._requests.decode(payload)
        if not self._server.has_room(passed.head.address):
            sock.close()
            return
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _PassedConnection(self._server, passed)
        self._server.handshakes.add(connection)
        self._start(self._connect(sock, connection))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, sock: socket.socket, connection: HttpConnection) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: connection, sock)
        except OSError:  # the client is gone
            sock.close()
        finally:
            self._server.handshakes.discard(connection)

    async def _connect_relay(self, near: socket.socket, relay: _Relay) -> None:
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: relay.owner, near)


class _PassedConnection(HttpConnection):
    """A connection that begins with a request that another member has read."""

    __slots__ = ("_passed",)

    def __init__(self, server: HttpServer, passed: PassedRequest) -> None:
        super().__init__(server)
        self._passed = passed
        # The pair of a relay does not know the client, nor does a connection after PROXY.
        self.announced = Announced(passed.head.address, passed.head.is_secure)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # What comes from now on waits behind the request.
        self._request, self._rest = self._passed.head.request(), self._passed.tail
        # Not at once: uvloop does not stop reading a connection while it is being made.
        asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._request is not None and not self._transport.is_closing():
            self._begin(self._request)


class _Relay:
    """A client's connection, with `tail` read already, and its way to the owner.

    `ended` is called once, when the client's connection is gone.
    """

    def __init__(
        self, transport: asyncio.Transport, tail: bytes, ended: Callable[[_Relay], None]
    ) -> None:
        self.client, self.owner = _End(), _End()
        self.client.other, self.owner.other = self.owner, self.client
        self.client.on_lost = partial(ended, self)
        self.owner.write(tail)
        self.client.transport = transport
        transport.set_protocol(self.client)

    def abort(self) -> None:
        """Drop both connections."""
        self.client.abort()
        self.owner.abort()


class _End(asyncio.Protocol):
    """One of the two connections of a relay; what comes goes to the `other`."""

    other: _End

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.on_lost: Callable[[], None] = lambda: None
        self._early: list[bytes] = []  # to write once it is connected
        self._is_held = self._is_over = False

    def write(self, data: bytes) -> None:
        if self.transport is None:
            self._early.append(data)
        elif not self.transport.is_closing():
            self.transport.write(data)

    def hold(self, *, is_held: bool) -> None:
        """Read no more, or again: the other end does not take what comes."""
        transport = self.transport
        if transport is not None and not transport.is_closing() and is_held != self._is_held:
            self._is_held = is_held
            (transport.pause_reading if is_held else transport.resume_reading)()

    def close(self) -> None:
        """Close the connection once everything is sent, or soon in any case."""
        self._is_over = True
        if self.transport is not None:
            self.transport.close()
            if self.transport.get_write_buffer_size():
                asyncio.get_running_loop().call_later(CLOSE_LIMIT, self.transport.abort)

    def abort(self) -> None:
        self._is_over = True
        if self.transport is not None:
            self.transport.abort()

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because uvloop's transports are not subclasses of asyncio's.
        self.transport = cast("asyncio.Transport", transport)
        early, self._early = self._early, []
        if self._is_over:
            self.transport.abort()
        elif early:
            self.transport.write(b"".join(early))

    def data_received(self, data: bytes) -> None:
        self.other.write(data)

    def pause_writing(self) -> None:
        self.other.hold(is_held=True)

    def resume_writing(self) -> None:
        self.other.hold(is_held=False)

    def connection_lost(self, error: Exception | None) -> None:
        self.on_lost()
        self.other.close()
