"""Engine.IO v4, one session, without I/O: requests, packets and time come in, packets go out.

The protocol is https://github.com/socketio/socket.io/blob/main/docs/engine.io-protocol/v4-current.md
and is quoted where a line of it is met; what it leaves open is as in Node's engine.io 6.6.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable

from gateway.engineio.carrier import NOBODY, Host, Poll, Post, Reason, Receiver, WebSocket
from gateway.engineio.deadlines import Due
from gateway.engineio.frame import Frames
from gateway.engineio.outbox import Outbox
from gateway.engineio.packet import CLOSE, MESSAGE, NOOP, PONG, Message, Packet, PacketError
from gateway.engineio.polls import Polls
from gateway.engineio.settings import Transport
from gateway.engineio.state import OPEN, State
from gateway.engineio.upgrade import Step, Upgrade
from gateway.engineio.violations import Violation
from gateway.limits import LimitName

__all__ = ["Session", "State"]

LOG = logging.getLogger("sockgw.engine")


class Session:
    """One client, on whatever transport it is at the moment.

    `settings` are those of its handshake, `address` is its client's address, `receiver` takes what
    the client sends. Messages to a session that is over are dropped.
    """

    __slots__ = (
        "_deadlines",
        "_held",
        "_host",
        "_last",
        "_outbox",
        "_polls",
        "_upgrade",
        "_websocket",
        "address",
        "id",
        "receiver",
        "settings",
        "state",
        "transport",
    )

    def __init__(self, id: str, transport: Transport, host: Host, address: str = "") -> None:
        self.id, self.address = id, address
        self.receiver: Receiver = NOBODY
        self._host, self._deadlines, self.settings = host, host.deadlines, host.settings
        self.state, self.transport = State.OPENING, transport
        self._polls, self._held = Polls(), 0.0
        self._websocket: WebSocket | None = None  # set once it is the transport
        self._upgrade: Upgrade | None = None
        self._last = CLOSE  # what ends a poll when the session is over
        self._outbox = Outbox(id, transport, self.settings)
        self._deadlines.set(self, Due.PING, self.settings.ping_interval)

    @property
    def buffered(self) -> int:
        """Bytes the client has yet to take; text that waits may count by character."""
        waiting = self._outbox.size + self._outbox.taken
        return waiting + (self._websocket.buffered if self._websocket else 0)

    def accept(self, receiver: Receiver) -> bool:
        """The handshake is accepted; false if the session has ended before that."""
        if self.state is not State.OPENING:
            return False
        self.receiver, self.state = receiver, State.OPEN
        return True

    def send(self, message: Message) -> None:
        """Send a message."""
        self.send_many(Frames([message]))

    def send_many(self, frames: Frames, droppable: bool = False) -> None:
        """Send messages that nothing may come between.

        A client that does not keep up is disconnected, or misses them if they are droppable.
        """
        if (line := self._outbox.line) is not None:
            line.send_many(frames)
        elif self.state in {State.OPENING, State.OPEN}:
            self._keep(frames, droppable)

    def close(self, reason: Reason = "server disconnect") -> None:
        """End the session once the client has what was sent to it before.

        On polling that takes a poll, which is waited for as long as for the answer to a ping.
        """
        if self.state is State.OPEN and self._websocket is None:
            self.state = State.CLOSING
            self._deadlines.set(self, Due.CLOSE, self.settings.ping_timeout)
            self._deadlines.cancel(self, Due.PING, Due.PONG)
            self._polls.wake()
            self._tell(reason)
        elif self.state is not State.CLOSING:
            self.end(reason)

    def end(self, reason: Reason) -> None:
        """End the session now. A poll that waits is told; one that comes later finds nothing."""
        if self.state is State.CLOSED:
            return
        was, self.state = self.state, State.CLOSED
        self._deadlines.cancel(self)
        self._host.forget(self)
        self._polls.end()
        self._finish_upgrade(Step.FAILED)
        websocket, self._websocket, self._outbox.line = self._websocket, None, None
        if websocket is not None:
            if reason in ("server disconnect", "server shutting down"):
                self._outbox.pour(websocket)
            websocket.close()
        if was is State.OPEN:
            self._tell(reason)

    def count_violation(self, kind: Violation, why: object) -> None:
        """Count what the client did and may not; whether that ends the session, the caller says."""
        self._host.violations.record(kind, f"session {self.id[:6]}", why)

    def count_limit(self, limit: LimitName, why: object) -> None:
        """Count that a bound was met; what comes of it, the caller says."""
        self._host.limits_met.record(limit, f"session {self.id[:6]}", why)

    def hold(self, seconds: float) -> None:
        """Nothing that the client sends is taken for so long, its answer to a ping included."""
        self._held = self._deadlines.clock() + seconds

    def _tell(self, reason: Reason) -> None:
        receiver, self.receiver = self.receiver, NOBODY  # they would keep each other in memory
        try:
            receiver.closed(reason)
        except Exception:
            LOG.exception("a fault in the gateway itself")

    def _keep(self, frames: Frames, droppable: bool) -> None:
        kept = self._outbox.keep(frames, droppable, self._host.limits)
        if kept != "kept":
            self.count_limit("send_buffer", f"{self.buffered} bytes are not taken: {kept}")
        if kept == "disconnected":
            self.end("slow client")
        self._look()

    # Its client's side, on either transport.

    def receive(self, packet: Packet) -> Awaitable[None] | None:
        """Take a packet that came on the session's transport.

        Returns what the next packet has to wait for. Raises `PacketError` for what a client may
        not send, which is to end the session.
        """
        if self.state is not OPEN:
            return None
        if isinstance(packet, bytes):
            return self.receiver.receive(packet)
        kind = packet[:1]
        if kind == MESSAGE:
            return self.receiver.receive(packet[1:])
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
        if carrier is self._websocket or carrier in self._polls:
            self.end(reason)
        elif self._upgrade is not None and carrier is self._upgrade.websocket:
            self._finish_upgrade(Step.FAILED)

    def due(self, due: Due, when: float) -> None:
        """A deadline has passed."""
        if due is Due.PING:
            self._deadlines.set_after(when, self, Due.PONG, self.settings.ping_timeout)
            self._outbox.ping(first=self._websocket is not None)
            self._look()
        elif due is Due.PONG and when < self._held + self.settings.ping_timeout:
            self.due(Due.PING, when)  # its answer may be behind what waits
        elif due is Due.PONG:
            self.end("ping timeout")
        elif due is Due.UPGRADE:
            self.count_limit("upgrade_timeout", "an upgrade that was not completed")
            self._finish_upgrade(Step.FAILED)
        elif due is Due.CLOSE:
            self.end("server disconnect")
        else:
            self._polls.wake()

    # HTTP long-polling.

    def poll(self, poll: Poll) -> None:
        """A GET request came.

        "A client MUST NOT have more than one active GET request. Should it happen, the server
        MUST return an HTTP 400 error status and close the session."
        """
        if self._polls.enter(poll):
            self._look()
        else:
            self.count_violation("overlap", "two polls at once")
            self.end("transport error")
            poll.wake()

    def take(self, poll: Poll) -> list[Packet] | None:
        """The packets that answer a poll that was woken, or `None`: it is to be refused."""
        if not self._polls.take(poll):
            return None
        if self._upgrade is not None:
            self._deadlines.cancel(self, Due.NOOP, Due.LATER_NOOP)
        packets = self._outbox.take()
        if self.state is State.CLOSING:
            self.end("server disconnect")  # which hurries the poll
        elif self.state is State.CLOSED:
            poll.hurry()
        if self.state is State.CLOSED:
            packets.append(self._last)
        return packets or [NOOP]

    def answered(self, poll: Poll) -> None:
        """The answer to a poll is written."""
        if self._polls.answered(poll):
            self._outbox.taken = 0
            self._look()

    def post(self, post: Post) -> bool:
        """A POST request came: the same goes for these. If this is false, it is refused."""
        if self._polls.post(post):
            return True
        self.count_violation("overlap", "two POST requests at once")
        self.end("transport error")
        return False

    def posted(self) -> None:
        """The POST request is over."""
        self._polls.posted()

    def _look(self) -> None:
        """Answer the poll that waits, if there is something to say."""
        if self.state is not OPEN or (self._polls.ready and self._outbox):
            self._polls.wake()
        elif self._upgrade is not None and self._upgrade.probed and self._polls.ready:
            self._deadlines.set(self, *self._upgrade.hold())

    # WebSocket.

    def open(self, websocket: WebSocket) -> None:
        """A WebSocket is open: the one that the session began with, or the attempt to upgrade it.

        "A client MUST NOT open more than one WebSocket connection per session. Should it happen,
        the server MUST close the WebSocket connection."
        """
        if self.state is not State.OPEN or self._upgrade is not None or self._websocket is not None:
            self.count_violation("overlap", "a second WebSocket")
            websocket.close()
        elif self.transport == "websocket":
            self._move_to(websocket)
        else:
            self._upgrade = Upgrade(websocket)
            self._deadlines.set(self, Due.UPGRADE, self._host.limits.upgrade_timeout)

    def receive_on(self, websocket: WebSocket, packet: Packet) -> Awaitable[None] | None:
        """Take a packet that came on a WebSocket."""
        if websocket is self._websocket:
            return self.receive(packet)
        if self._upgrade is not None and websocket is self._upgrade.websocket:
            step = self._upgrade.receive(packet)
            if step is Step.FAILED:
                self.count_violation("upgrade", "neither a probe nor an upgrade behind one")
            if step is not Step.PROBED:
                self._finish_upgrade(step)
            elif self._polls.ready:
                self._polls.wake()
        return None

    def pause(self, websocket: WebSocket) -> None:
        """A WebSocket takes nothing more for now."""
        if websocket is self._websocket:
            self._outbox.line = None

    def resume(self, websocket: WebSocket) -> None:
        """It takes something again."""
        if websocket is self._websocket:
            self._outbox.flow(websocket)

    def _finish_upgrade(self, step: Step) -> None:
        upgrade, self._upgrade = self._upgrade, None
        if upgrade is None:
            return
        self._deadlines.cancel(self, Due.UPGRADE, Due.NOOP, Due.LATER_NOOP)
        if step is Step.FAILED:
            upgrade.websocket.close()
            return
        self._polls.drop()  # one that should not have come
        self._move_to(upgrade.websocket)
        if self.state is State.CLOSING:
            self.end("server disconnect")

    def _move_to(self, websocket: WebSocket) -> None:
        """What no poll has taken goes out first, before all that is sent from now on."""
        self._websocket, self.transport = websocket, "websocket"
        self.resume(websocket)
