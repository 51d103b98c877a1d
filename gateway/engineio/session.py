"""One Engine.IO v4 session, without I/O: requests, packets and time come in, packets go out.

The protocol is https://github.com/socketio/socket.io/blob/main/docs/engine.io-protocol/v4-current.md
and is quoted where it applies; where it is silent, this follows Node's engine.io 6.6.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable
from enum import Enum
from math import inf
from typing import Protocol

from gateway.engineio.counted import Counted, Counters
from gateway.engineio.frames import Frames
from gateway.engineio.outbox import Outbox
from gateway.engineio.pacing import paced
from gateway.engineio.packet import (
    BASE64,
    CLOSE,
    MESSAGE,
    NOOP,
    PONG,
    Packet,
    PacketError,
    decode_base64,
)
from gateway.engineio.receiver import NOBODY, Reason, Receiver
from gateway.engineio.settings import Settings, Transport
from gateway.engineio.timers import Due
from gateway.engineio.transports import Poll, Post, WebSocket
from gateway.engineio.upgrade import Upgrade, UpgradeStep
from gateway.http.deadlines import Deadlines
from gateway.limits import Limits, TokenBucket

__all__ = ["Host", "Polling", "Session", "State", "new_id", "tag_of"]

LOG = logging.getLogger("sockgw.engine")

POLL_PACKETS = 15
"""Most packets in the answer to a poll, besides a CLOSE. Clients of python-socketio take 16."""


class State(Enum):
    """The state of a session.

    A session is opening until its handshake is accepted, and closing until a poll has fetched its
    last packets.
    """

    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


OPEN = State.OPEN  # read for every message, and enum members are slow to look up


class Host(Counters, Protocol):
    """The engine as its sessions see it."""

    settings: Settings
    limits: Limits
    deadlines: Deadlines

    def forget(self, session: Session) -> None:
        """Remove a session from the table, so that no request finds it."""


class Session(Counted):
    """One client, on its current transport.

    `settings` are those of its handshake; `is_secure` is true if it came over TLS. `polling` has
    the requests of long-polling; it is `None` for a session that began on a WebSocket or is over.
    `upgrade` is the attempt in progress, if any. `packets` counts those that the client may still
    send, besides events. Messages to a session that is over are dropped.
    """

    __slots__ = (
        "_deadlines",
        "_held",
        "_pings",
        "_websocket",
        "id",
        "is_secure",
        "last",
        "outbox",
        "packets",
        "polling",
        "settings",
        "state",
        "transport",
        "upgrade",
    )

    _host: Host

    def __init__(
        self,
        id: str,
        transport: Transport,
        host: Host,
        address: str = "",
        *,
        is_secure: bool = False,
    ) -> None:
        self.id = id
        self.address = address
        self.is_secure = is_secure
        self.receiver: Receiver = NOBODY
        self.settings = host.settings
        self.state = State.OPENING
        self.transport = transport
        self.outbox = Outbox(id, transport, self.settings)
        self.polling = Polling(self, host.deadlines) if transport == "polling" else None
        self.last = CLOSE  # answers a poll once the session is over
        self._host = host
        self._deadlines = host.deadlines
        self._held = 0.0
        self.packets = TokenBucket()
        self._pings = 0  # that the client has not answered
        self._websocket: WebSocket | None = None  # set once it is the transport
        self.upgrade: Upgrade | None = None
        self._deadlines.set(self, Due.PING, self.settings.ping_interval)

    @property
    def buffered(self) -> int:
        """Bytes that wait to be sent to the client; waiting text may count by character."""
        waiting = self.outbox.size + self.outbox.taken
        return waiting + (self._websocket.buffered if self._websocket else 0)

    def accept(self, receiver: Receiver) -> bool:
        """Accept the handshake; false if the session has already ended."""
        if self.state is not State.OPENING:
            return False
        self.receiver, self.state = receiver, State.OPEN
        return True

    def send_many(self, frames: Frames, droppable: bool = False) -> None:
        """Send messages, with nothing in between.

        A client that does not keep up is disconnected, or misses them if they are droppable.
        """
        if (sink := self.outbox.sink) is not None:
            sink.send_many(frames)
            return
        if self.state not in {State.OPENING, State.OPEN}:
            return
        kept = self.outbox.keep(frames, droppable, self._host.limits)
        if kept != "kept":
            limit = self.outbox.limit_met(self._host.limits)
            size = f"{self.buffered} bytes"
            unread = f"{len(self.outbox)} packets" if limit == "send_packets" else size
            self.count_limit(limit, f"{unread} are not read: {kept}")
        if kept == "disconnected":
            self.end("slow client")
        if self.polling is not None:
            self.polling.answer_if_ready()

    def close(self, reason: Reason = "server disconnect", *, apart: bool = False) -> None:
        """End the session once the client has received everything sent before.

        On polling that takes one more poll, which may take as long as the answer to a ping. With
        `apart` it takes two: Socket.IO's client notices a close before the packets it comes with.
        """
        if self.state is State.OPEN and self._websocket is None:
            self.state = State.CLOSING
            self._deadlines.set(self, Due.CLOSE, self.settings.ping_timeout)
            self._deadlines.cancel(self, Due.PING, Due.PONG)
            if self.polling is not None:
                self.polling.closes_apart = apart
                self.polling.wake()
            self._report_end(reason)
        elif self.state is not State.CLOSING:
            self.end(reason)

    def end(self, reason: Reason) -> None:
        """End the session now. A waiting poll is answered; a later one is refused."""
        if self.state is State.CLOSED:
            return
        former, self.state = self.state, State.CLOSED
        self._deadlines.cancel(self)
        self._host.forget(self)
        polling, self.polling = self.polling, None  # breaks a reference cycle
        if polling is not None:
            polling.end()
        self._finish_upgrade(UpgradeStep.FAILED)
        websocket, self._websocket = self._websocket, None
        self.outbox.sink = None
        if websocket is not None:
            if reason in {"server disconnect", "server shutting down"}:
                self.outbox.flush_all(websocket)
            websocket.close()
        if former is State.OPEN:
            self._report_end(reason)

    def charge(self, packets: int = 1) -> Awaitable[None] | None:
        """Charge packets or frames that are not events to `packets_per_second`.

        The next message waits for the returned awaitable.
        """
        bucket = self.packets
        bucket.tokens -= packets
        if bucket.tokens >= 0:
            return None

        def rate() -> float:
            closed = self.state is State.CLOSED
            return inf if closed else self._host.limits.packets_per_second

        return paced(bucket, rate, self, "packets_per_second")

    def hold(self, seconds: float) -> None:
        """Excuse a throttled client from answering pings for `seconds`."""
        self._held = self._deadlines.clock() + seconds

    def _report_end(self, reason: Reason) -> None:
        receiver, self.receiver = self.receiver, NOBODY  # breaks a reference cycle
        try:
            receiver.closed(reason)
        except Exception:
            LOG.exception("a fault in the gateway itself")

    # Packets and requests from the client

    def receive(self, packet: Packet) -> Awaitable[None] | None:
        """Handle a packet that came on the session's transport.

        The next packet waits for the returned awaitable. Raises `PacketError` for a packet that
        clients may not send; the caller then ends the session.
        """
        if self.state is not OPEN:
            if packet == CLOSE:
                self.last = NOOP
                self.end("client disconnect")
            return None
        if isinstance(packet, bytes):
            return self.receiver.receive(packet)
        if packet and packet[0] == MESSAGE:  # quicker than a slice, which most need not pay for
            return self.receiver.receive(packet[1:])
        kind = packet[:1]
        if kind == PONG:
            if not self._pings:
                raise PacketError("a pong without a ping")
            self._pings -= 1
            self._deadlines.set(self, Due.PING, self.settings.ping_interval)
            self._deadlines.cancel(self, Due.PONG)
            return self.charge()
        if kind == CLOSE:
            self.last = NOOP
            self.end("client disconnect")
            return None
        if kind == BASE64:
            return self.receiver.receive(decode_base64(packet))
        raise PacketError(f"a client may not send packets of type {kind!r}")

    def lost(self, carrier: Poll | WebSocket, reason: Reason) -> None:
        """Handle the loss of the connection of a poll or a WebSocket.

        A client that has upgraded has read its polls before.
        """
        polling = self.polling if self._websocket is None else None
        if carrier is self._websocket or (polling is not None and carrier in polling):
            self.end(reason)
        elif self.upgrade is not None and carrier is self.upgrade.websocket:
            self._finish_upgrade(UpgradeStep.FAILED)

    def due(self, due: int, when: float) -> None:
        """Act on a deadline that has passed."""
        if due == Due.PING:
            self._deadlines.set_after(when, self, Due.PONG, self.settings.ping_timeout)
            self._pings += 1
            self.outbox.ping()
            if self.polling is not None:
                self.polling.answer_if_ready()
        elif due == Due.PONG and when < self._held + self.settings.ping_timeout:
            self.due(Due.PING, when)  # the pong may wait behind throttled packets
        elif due == Due.PONG:
            self.end("ping timeout")
        elif due == Due.UPGRADE:
            self.count_limit("upgrade_timeout", "the upgrade was not completed")
            self._finish_upgrade(UpgradeStep.FAILED)
        elif due == Due.CLOSE:
            self.end("server disconnect")
        elif self.polling is not None:
            self.polling.wake()

    # WebSocket

    def open(self, websocket: WebSocket) -> None:
        """Use a new WebSocket: as the first transport, or for an upgrade.

        "A client MUST NOT open more than one WebSocket connection per session. Should it happen,
        the server MUST close the WebSocket connection."
        """
        if self.state is not State.OPEN or self.upgrade is not None or self._websocket is not None:
            self.count_violation("overlap", "a second WebSocket")
            websocket.close()
        elif self.transport == "websocket":
            self._move_to(websocket)
        else:
            self.upgrade = Upgrade(websocket)
            self._deadlines.set(self, Due.UPGRADE, self._host.limits.upgrade_timeout)

    def receive_on(self, websocket: WebSocket, packet: Packet) -> Awaitable[None] | None:
        """Handle a packet that came on a WebSocket; see `receive`."""
        if websocket is self._websocket:
            return self.receive(packet)
        if self.upgrade is not None and websocket is self.upgrade.websocket:
            step = self.upgrade.receive(packet)
            if step is UpgradeStep.FAILED:
                self.count_violation("upgrade", "neither a probe nor an upgrade after one")
            if step is not UpgradeStep.PROBED:
                self._finish_upgrade(step)
            elif self.polling is not None and self.polling.is_ready:
                self.polling.wake()
        return None

    def pause(self, websocket: WebSocket) -> None:
        """Keep packets in the outbox: the client does not read its WebSocket."""
        if websocket is self._websocket:
            self.outbox.sink = None

    def resume(self, websocket: WebSocket) -> None:
        """Send to the WebSocket again, beginning with the outbox."""
        if websocket is self._websocket:
            self.outbox.attach(websocket)
            self.outbox.wake_senders(self._host.limits)

    def _finish_upgrade(self, step: UpgradeStep) -> None:
        upgrade, self.upgrade = self.upgrade, None
        if upgrade is None:
            return
        self._deadlines.cancel(self, Due.UPGRADE, Due.NOOP, Due.LATER_NOOP)
        if step is UpgradeStep.FAILED:
            upgrade.websocket.close()
            return
        if self.polling is not None:
            self.polling.drop()  # the client should not have sent this poll
        self._move_to(upgrade.websocket)
        if self.state is State.CLOSING:
            self.end("server disconnect")

    def _move_to(self, websocket: WebSocket) -> None:
        """Make a WebSocket the transport; it first sends what no poll has fetched."""
        self._websocket, self.transport = websocket, "websocket"
        self.resume(websocket)


def new_id(tag: str = "") -> str:
    """Make an id of 20 characters, for a session or a socket, that nobody can guess.

    It begins with `tag`.
    """
    random = secrets.token_urlsafe(15)
    return tag + random[len(tag) :] if tag else random


def tag_of(session: Session) -> str:
    """The beginning of a session's id, which names its member; empty if there is only one."""
    return session.id[:-20]


class Polling:
    """The requests of a session on HTTP long-polling, and the order in which they are answered.

    At most one GET waits, one answer is being written, and one POST is read. A client should have
    read the answer to one GET before it sends the next. If it does not, its GET waits, whatever
    connection it came on: the answers would pile up in memory.

    `closes_apart` is true if a session that closes says so in an answer without other packets.
    """

    __slots__ = ("_answering", "_deadlines", "_post", "_session", "_waiting", "closes_apart")

    def __init__(self, session: Session, deadlines: Deadlines) -> None:
        self._session, self._deadlines = session, deadlines
        self._waiting: Poll | None = None
        self._answering: Poll | None = None
        self._post: Post | None = None
        self.closes_apart = False

    def __contains__(self, carrier: object) -> bool:
        """True for a GET in progress."""
        return carrier is not None and carrier in (self._waiting, self._answering)

    @property
    def is_ready(self) -> bool:
        """True if a GET waits for packets and no answer is still being written."""
        return self._waiting is not None and self._answering is None

    def poll(self, poll: Poll) -> None:
        """Handle a GET request.

        "A client MUST NOT have more than one active GET request. Should it happen, the server
        MUST return an HTTP 400 error status and close the session." Beside other members the new
        one takes the place of the old: a proxy repeats a GET when a member does not answer it.
        """
        former = self._waiting
        if former is None or tag_of(self._session):
            self._waiting = poll
            self.answer_if_ready()
            if former is not None:
                former.give_way()
        else:
            self._session.count_violation("overlap", "two polls at once")
            self._session.end("transport error")
            poll.wake()

    def next_payload(self, poll: Poll) -> list[Packet] | None:
        """The packets for a poll that was woken; `None` if it has to be refused."""
        session = self._session
        if poll is not self._waiting:
            return None
        if self._answering is not None:
            self._answering.expire_soon()
        self._waiting, self._answering = None, poll
        if session.upgrade is not None:
            self._deadlines.cancel(session, Due.NOOP, Due.LATER_NOOP)
        packets = session.outbox.take(inf if session.state is State.CLOSED else POLL_PACKETS)
        if session.state is State.CLOSING and not (
            session.outbox or (packets and self.closes_apart)
        ):
            session.end("server disconnect")  # which has the poll expire
        elif session.state is State.CLOSED:
            poll.expire_soon()
        if session.state is State.CLOSED:
            packets.append(session.last)
        return packets or [NOOP]

    def answered(self, poll: Poll) -> None:
        """The answer to a poll is written."""
        if poll is self._answering:
            self._answering = None
            session = self._session
            session.outbox.taken = 0
            if session.outbox.drain is not None:
                session.outbox.wake_senders(session._host.limits)
            self.answer_if_ready()

    def withdraw(self, poll: Poll) -> bool:
        """Forget a GET; false if its answer has packets that may be lost."""
        if poll is self._waiting:
            self._waiting = None
        elif poll is self._answering:
            if self._session.outbox.taken:
                return False
            self.answered(poll)
        return True

    def post(self, post: Post) -> bool:
        """Handle a POST request; false if it has to be refused.

        A second one at the same time ends the session, as a second GET does.
        """
        if self._post is None:
            self._post = post
            return True
        self._session.count_violation("overlap", "two POST requests at once")
        self._session.end("transport error")
        return False

    def posted(self) -> None:
        """Note that the POST request is over."""
        self._post = None

    def answer_if_ready(self) -> None:
        """Answer the waiting GET if there are packets for it, or hold it during an upgrade."""
        session = self._session
        if session.state is not OPEN or (self.is_ready and session.outbox):
            self.wake()
        elif session.upgrade is not None and session.upgrade.is_probed and self.is_ready:
            self._deadlines.set(session, *session.upgrade.hold_poll())

    def wake(self) -> None:
        """Answer the waiting GET, if there is one."""
        if self._waiting is not None:
            self._waiting.wake()

    def drop(self) -> None:
        """Refuse the waiting GET."""
        self.wake()
        self._waiting = None

    def end(self) -> None:
        """End the requests in progress soon: the session is over."""
        self.wake()
        for request in filter(None, (self._answering, self._post)):
            request.expire_soon()
