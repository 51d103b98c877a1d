"""Engine.IO v4, one session, without I/O: requests, packets and time come in, packets go out.

The protocol is https://github.com/socketio/socket.io/blob/main/docs/engine.io-protocol/v4-current.md
and is quoted where a line of it is met; what it leaves open is as in Node's engine.io 6.6.
"""

from __future__ import annotations

from collections.abc import Awaitable

from gateway.engine.carrier import Host, Poll, Post, Reason, WebSocket
from gateway.engine.deadlines import Due
from gateway.engine.frame import Frames
from gateway.engine.offence import Offence
from gateway.engine.packet import CLOSE, MESSAGE, NOOP, PING, PONG, Packet, PacketError, handshake
from gateway.engine.settings import Transport
from gateway.engine.state import OPEN, State
from gateway.engine.upgrade import Step, Upgrade

__all__ = ["Session", "State"]


class Session:
    """One client, on whatever transport it is at the moment.

    `settings` are those of its handshake, `owner` is a place for the object of whoever uses the
    engine. Messages to a session that is over are dropped.
    """

    __slots__ = (
        "_answering",
        "_buffer",
        "_buffered",
        "_deadlines",
        "_host",
        "_last",
        "_poll",
        "_post",
        "_upgrade",
        "_websocket",
        "id",
        "owner",
        "settings",
        "state",
        "transport",
    )

    def __init__(self, id: str, transport: Transport, host: Host) -> None:
        self.id = id
        self.owner: object = None
        self.settings = host.settings
        self.state, self.transport = State.OPENING, transport
        self._host, self._deadlines = host, host.deadlines
        self._poll: Poll | None = None  # the GET that waits
        self._answering: Poll | None = None  # the GET whose answer is being written
        self._post: Post | None = None
        self._websocket: WebSocket | None = None  # set once it is the transport
        self._upgrade: Upgrade | None = None
        self._last = CLOSE  # what ends a poll when the session is over
        # "If the server accepts the connection, then it MUST respond with an open packet"
        self._buffer = [handshake(id, transport, self.settings)]
        self._buffered = 0
        self._deadlines.set(self, Due.PING, self.settings.ping_interval)

    def __repr__(self) -> str:
        return f"<Session {self.id} {self.state.value} on {self.transport}>"

    # Its server's side.

    @property
    def buffered(self) -> int:
        """Bytes the client has yet to take; text that waits for a poll counts by character."""
        return self._buffered if self._websocket is None else self._websocket.buffered

    def accept(self) -> bool:
        """The handshake is accepted; false if the session has ended before that."""
        if self.state is State.OPENING:
            self.state = State.OPEN
        return self.state is State.OPEN

    def send_text(self, text: str) -> None:
        """Send a text message."""
        self._send(MESSAGE + text)

    def send_bytes(self, data: bytes) -> None:
        """Send a binary message."""
        self._send(data)

    def send_many(self, frames: Frames) -> None:
        """Send messages that nothing may come between."""
        if self._websocket is not None:
            self._websocket.send_many(frames)
        else:
            for packet in frames.packets:
                self._send(packet)

    def close(self, reason: Reason = "server disconnect") -> None:
        """End the session once the client has what was sent to it before.

        On polling that takes a poll, which is waited for as long as for the answer to a ping.
        """
        if self.state is State.OPEN and self._websocket is None:
            self.state = State.CLOSING
            self._deadlines.set(self, Due.CLOSE, self.settings.ping_timeout)
            self._deadlines.cancel(self, Due.PING, Due.PONG)
            self._wake()
            self._host.closed(self, reason)
        elif self.state is not State.CLOSING:
            self.end(reason)

    def end(self, reason: Reason) -> None:
        """End the session now. A poll that waits is told; one that comes later finds nothing."""
        if self.state is State.CLOSED:
            return
        was, self.state = self.state, State.CLOSED
        self._deadlines.cancel(self)
        self._host.forget(self)
        self._wake()
        for request in filter(None, (self._answering, self._post)):
            request.hurry()
        self._finish_upgrade(Step.FAILED)
        websocket, self._websocket = self._websocket, None
        if websocket is not None:
            websocket.close()
        if was is State.OPEN:
            self._host.closed(self, reason)

    def offends(self, kind: Offence, why: object) -> None:
        """Count what the client did and may not; whether that ends the session, the caller says."""
        self._host.offences.saw(kind, f"session {self.id[:6]}", why)

    def _send(self, packet: Packet) -> None:
        if self._websocket is not None:
            self._websocket.send(packet)
        elif self.state in {State.OPENING, State.OPEN}:
            self._buffer.append(packet)
            self._buffered += len(packet)
            self._wake()

    def _wake(self) -> None:
        if self._poll is not None:
            self._poll.wake()

    # Its client's side, on either transport.

    def receive(self, packet: Packet) -> Awaitable[None] | None:
        """Take a packet that came on the session's transport.

        Returns what the next packet has to wait for. Raises `PacketError` for what a client may
        not send, which is to end the session.
        """
        if self.state is not OPEN:
            return None
        if isinstance(packet, bytes):
            return self._host.message(self, packet)
        kind = packet[:1]
        if kind == MESSAGE:
            return self._host.message(self, packet[1:])
        if kind == PONG:
            self._deadlines.set(self, Due.PING, self.settings.ping_interval)
            self._deadlines.cancel(self, Due.PONG)
        elif kind == CLOSE:
            self._last = NOOP
            self.end("client disconnect")
        else:
            raise PacketError(f"a client may not send packets of type {kind!r}")
        return None

    def lost(self, carrier: Poll | WebSocket, reason: Reason) -> None:
        """A request went away unanswered, or a WebSocket is gone."""
        if carrier in {self._websocket, self._poll, self._answering}:
            self.end(reason)
        elif self._upgrade is not None and carrier is self._upgrade.websocket:
            self._finish_upgrade(Step.FAILED)

    def due(self, due: Due, when: float) -> None:
        """A deadline has passed.

        "At a given interval the server sends a ping packet and the client has a few seconds to
        send a pong packet back. If the server does not receive a pong packet back, then it SHOULD
        consider that the connection is closed."
        """
        if due is Due.PING:
            timeout = self.settings.ping_timeout
            # The pong is due when the client was told, however late this ping is: unless it is
            # so late, the machine having slept, that the client would have no time to answer.
            by = max(when + timeout, self._deadlines.clock() + timeout / 2)
            self._deadlines.set(self, Due.PONG, timeout, by)
            self._send(PING)
        elif due is Due.PONG:
            self.end("ping timeout")
        elif due is Due.UPGRADE:
            self._finish_upgrade(Step.FAILED)
        elif due is Due.CLOSE:
            self.end("server disconnect")
        else:
            self._wake()

    # HTTP long-polling.

    def poll(self, poll: Poll) -> None:
        """A GET request came.

        "A client MUST NOT have more than one active GET request. Should it happen, the server
        MUST return an HTTP 400 error status and close the session."
        """
        if self._poll is not None:
            self.offends("overlap", "two polls at once")
            self.end("transport error")
            poll.wake()
            return
        self._poll = poll
        if self._buffer or self.state is not State.OPEN:
            poll.wake()
        elif self._upgrade is not None and self._upgrade.probed:
            self._deadlines.set(self, *self._upgrade.hold())

    def take(self, poll: Poll) -> list[Packet] | None:
        """The packets that answer a poll that was woken, or `None`: it is to be refused."""
        if poll is not self._poll:
            return None
        self._poll, self._answering = None, poll
        self._deadlines.cancel(self, Due.NOOP, Due.LATER_NOOP)
        packets, self._buffer, self._buffered = self._buffer, [], 0
        if self.state is State.CLOSING:
            self.end("server disconnect")
        if self.state is State.CLOSED:
            packets.append(self._last)
            poll.hurry()
        return packets or [NOOP]

    def answered(self, poll: Poll) -> None:
        """The answer to a poll is written."""
        if poll is self._answering:
            self._answering = None

    def post(self, post: Post) -> bool:
        """A POST request came: the same goes for these. If this is false, it is refused."""
        if self._post is not None:
            self.offends("overlap", "two POST requests at once")
            self.end("transport error")
            return False
        self._post = post
        return True

    def posted(self) -> None:
        """The POST request is over."""
        self._post = None

    # WebSocket.

    def open(self, websocket: WebSocket) -> None:
        """A WebSocket is open: the one that the session began with, or the attempt to upgrade it.

        "A client MUST NOT open more than one WebSocket connection per session. Should it happen,
        the server MUST close the WebSocket connection."
        """
        if self.state is not State.OPEN or self._upgrade is not None or self._websocket is not None:
            self.offends("overlap", "a second WebSocket")
            websocket.close()
        elif self.transport == "websocket":
            self._move_to(websocket)
        else:
            self._upgrade = Upgrade(websocket)
            self._deadlines.set(self, Due.UPGRADE, self.settings.upgrade_timeout)

    def receive_on(self, websocket: WebSocket, packet: Packet) -> Awaitable[None] | None:
        """Take a packet that came on a WebSocket."""
        if websocket is self._websocket:
            return self.receive(packet)
        if self._upgrade is not None and websocket is self._upgrade.websocket:
            step = self._upgrade.receive(packet)
            if step is Step.FAILED:
                self.offends("upgrade", "neither a probe nor an upgrade behind one")
            if step is Step.PROBED:
                self._wake()
            else:
                self._finish_upgrade(step)
        return None

    def _finish_upgrade(self, step: Step) -> None:
        upgrade, self._upgrade = self._upgrade, None
        if upgrade is None:
            return
        self._deadlines.cancel(self, Due.UPGRADE, Due.NOOP, Due.LATER_NOOP)
        if step is Step.FAILED:
            upgrade.websocket.close()
            return
        self._wake()
        self._poll = None  # so that a poll that should not have come is refused
        self._move_to(upgrade.websocket)
        if self.state is State.CLOSING:
            self.end("server disconnect")

    def _move_to(self, websocket: WebSocket) -> None:
        """What no poll has taken goes out first, before all that is sent from now on."""
        self._websocket, self.transport = websocket, "websocket"
        packets, self._buffer, self._buffered = self._buffer, [], 0
        for packet in packets:
            websocket.send(packet)
