"""A socket's life in the gateway, from its CONNECT until its connection chain has unwound."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from gateway.api import Gateway, Namespace, Socket
from gateway.context import Context, Services
from gateway.limits import LimitName

__all__ = [
    "ACCEPTED",
    "CONNECTING",
    "LEFT",
    "Connection",
    "ConnectionContext",
    "State",
    "Witness",
]


class State(Enum):
    """The state of a socket, which never returns to an earlier one.

    A socket is `CONNECTING` until its connection chain reaches its end, and `EXPIRED` if that
    takes too long. An `ACCEPTED` socket was sent CONNECT. `LEFT` may follow any of the three.
    """

    CONNECTING = "connecting"
    EXPIRED = "expired"
    ACCEPTED = "accepted"
    LEFT = "left"


# Read for every packet, and enum members are slow to look up.
CONNECTING, ACCEPTED, LEFT = State.CONNECTING, State.ACCEPTED, State.LEFT


class Witness(Protocol):
    """Takes note of each socket that is accepted, and then of its end. Raises nothing."""

    def accepted(self, socket: Socket) -> None: ...

    def left(self, socket: Socket, reason: str) -> None: ...


class ConnectionContext(Context):
    """The context of a connection chain; `has_left` is true once its client is gone.

    Then its records have the event `disconnect`. `event` stays `connect`, by which a middleware
    knows in which chain it runs.
    """

    __slots__ = ("has_left",)

    def __init__(
        self, socket: Socket, service: Services, namespace: Namespace, gateway: Gateway
    ) -> None:
        super().__init__(socket, "connect", [], service, namespace, gateway)
        self.has_left = False

    @property
    def _facts(self) -> dict[str, str]:
        return {**super()._facts, "event": "disconnect"} if self.has_left else super()._facts


class Connection(ABC):
    """The runtime's half of a socket; subclasses send to the client.

    `scope` is the namespace as plugins see it. `in_flight` counts the socket's packets that wait
    for something. `task` runs its connection chain; it is `None` if there is none.
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
        # Made on demand: most sockets need none of them.
        self._gone: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._cancellable: set[asyncio.Task[None]] | None = None
        self._queues: dict[str, asyncio.Lock] | None = None

    # The life of a socket

    def expire_after(self, seconds: float) -> None:
        """Cancel the connection chain unless it reaches its end within `seconds`."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def accept(self) -> None:
        """Accept the socket and send CONNECT."""
        self.stop_timer()
        self.state = ACCEPTED
        self.send_connect()

    def end(self) -> State:
        """End the socket, for whatever reason, and return its former state."""
        former, self.state = self.state, LEFT
        if former is LEFT:
            return former
        if former is not ACCEPTED and self.task is not None:
            self.task.cancel()
        return former

    def gone(self) -> asyncio.Future[None]:
        """Make the future that the end of a connection chain waits for, until `unwind`."""
        self._gone = asyncio.get_running_loop().create_future()
        return self._gone

    def unwind(self) -> None:
        """Let the chain go on after `next()`, unless a middleware has cancelled that wait."""
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def stop_timer(self) -> None:
        """Stop the timer of `expire_after`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        assert self.task is not None
        self.state = State.EXPIRED
        self.task.cancel()

    # Its packets

    def queue(self, name: str) -> asyncio.Lock:
        """The queue with this name: a lock, because asyncio grants locks in order of request."""
        if self._queues is None:
            self._queues = {}
        return self._queues.setdefault(name, asyncio.Lock())

    @property
    def cancellable(self) -> tuple[asyncio.Task[None], ...]:
        """The tasks that are to be cancelled when the socket is gone."""
        return tuple(self._cancellable or ())

    def cancel_on_leave(self, task: asyncio.Task[None]) -> None:
        """Add to `cancellable` a task, until it is done."""
        if self._cancellable is None:
            self._cancellable = set()
        self._cancellable.add(task)
        task.add_done_callback(self._cancellable.discard)

    # Sending. For a socket that is gone, nothing is sent and nothing is raised.

    @abstractmethod
    def send_connect(self) -> None:
        """Send CONNECT, then what was emitted before it."""

    @abstractmethod
    def refuse(self, message: str, data: object) -> None:
        """Send CONNECT_ERROR and forget the socket."""

    @abstractmethod
    def ack(self, id: int, args: Sequence[object]) -> None:
        """Answer the packet with the ack id `id`. Raises errors of encoding `args`."""

    @abstractmethod
    async def emit(self, event: str, args: Sequence[object]) -> None:
        """Send an event. Raises errors of encoding `args`."""

    @abstractmethod
    async def disconnect(self, close: bool = False) -> None:
        """Disconnect the socket from the server's side; with `close`, its connection too."""

    @abstractmethod
    def leave_rooms(self) -> None:
        """Forget the rooms of a socket that is gone."""

    @abstractmethod
    def count_limit(
        self, limit: LimitName, why: str = "a packet is refused", key: str = ""
    ) -> None:
        """Count that a limit was met; `why` is for the log, and `key` if it is none of `limits`."""

    @abstractmethod
    def sockets_of(self, user: str) -> int:
        """Return how many accepted sockets of its namespace are a user's."""

    @abstractmethod
    def count_refused(self, why: str) -> None:
        """Count that the socket was refused; `why` is for the log, "" if that knows already."""
