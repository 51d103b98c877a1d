"""One socket's stay in the gateway, from its CONNECT until its connection chain has unwound."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum

from gateway.api import Namespace, Socket
from gateway.limits import LimitName

__all__ = ["ACCEPTED", "CONNECTING", "LEFT", "Connection", "State"]


class State(Enum):
    """The state of a socket; it never goes back.

    A socket is `CONNECTING` until its chain reaches its end, and `EXPIRED` when that takes too
    long. An `ACCEPTED` socket has got its CONNECT. `LEFT` follows any of the three.
    """

    CONNECTING = "connecting"
    EXPIRED = "expired"
    ACCEPTED = "accepted"
    LEFT = "left"


# Every packet looks at these, and members of an enumeration are slow to get.
CONNECTING, ACCEPTED, LEFT = State.CONNECTING, State.ACCEPTED, State.LEFT


class Connection(ABC):
    """The runtime's half of a socket. Subclasses send what goes out to the client.

    `scope` is the namespace as plugins see it, `in_flight` counts the packets of the socket that
    wait for something, `task` runs its connection chain, `None` where it has none.
    """

    __slots__ = (
        "_cancellable",
        "_gone",
        "_queues",
        "_timer",
        "in_flight",
        "scope",
        "socket",
        "state",
        "task",
    )

    def __init__(self, socket: Socket, scope: Namespace) -> None:
        self.socket = socket
        self.scope = scope
        self.state = CONNECTING
        self.in_flight = 0
        self.task: asyncio.Task[None] | None = None
        # Made when they are needed: most sockets need none of them.
        self._gone: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._cancellable: set[asyncio.Task[None]] | None = None
        self._queues: dict[str, asyncio.Lock] | None = None

    # The life of a socket

    def expire_after(self, seconds: float) -> None:
        """Cancel the connection chain unless it reaches its end within `seconds`."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def accept(self) -> None:
        """Let the socket in: its client gets CONNECT."""
        self.stop_timer()
        self.state = ACCEPTED
        self.send_connect()

    def end(self) -> State:
        """The socket is gone, for whatever reason; returns its former state."""
        former, self.state = self.state, LEFT
        if former is LEFT:
            return former
        if former is not ACCEPTED and self.task is not None:
            self.task.cancel()
        for task in tuple(self._cancellable or ()):
            task.cancel()
        return former

    async def stay(self) -> None:
        """Accept the socket, and wait until it is gone: the last `next()` of a connection chain."""
        gone = self._gone = asyncio.get_running_loop().create_future()
        self.accept()
        await gone

    def unwind(self) -> None:
        """Let the chain go on after its `next()`, if no middleware has cancelled that."""
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def stop_timer(self) -> None:
        """The connection chain is in time, or over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        assert self.task is not None
        self.state = State.EXPIRED
        self.task.cancel()

    # Its packets

    def queue(self, name: str) -> asyncio.Lock:
        """The queue of that name: a lock, since asyncio grants locks in the order of asking."""
        if self._queues is None:
            self._queues = {}
        return self._queues.setdefault(name, asyncio.Lock())

    def cancel_on_leave(self, task: asyncio.Task[None]) -> None:
        """Cancel `task` when the socket is gone, unless it is done before."""
        if self._cancellable is None:
            self._cancellable = set()
        self._cancellable.add(task)
        task.add_done_callback(self._cancellable.discard)

    # What goes out. A socket that is gone is no error: nothing is sent.

    @abstractmethod
    def send_connect(self) -> None:
        """Send CONNECT, then what was emitted before it."""

    @abstractmethod
    def refuse(self, message: str, data: object) -> None:
        """Send CONNECT_ERROR and forget the socket."""

    @abstractmethod
    def ack(self, id: int, args: Sequence[object]) -> None:
        """Answer the packet whose ack id is `id`. Raises what encoding `args` raises."""

    @abstractmethod
    async def emit(self, event: str, args: Sequence[object]) -> None:
        """Send an event. Raises what encoding `args` raises."""

    @abstractmethod
    async def disconnect(self) -> None:
        """End the socket, from our side."""

    @abstractmethod
    def leave_rooms(self) -> None:
        """Forget the rooms of a socket that is gone."""

    @abstractmethod
    def count_limit(self, limit: LimitName) -> None:
        """Count that a packet was refused because a limit was met."""
