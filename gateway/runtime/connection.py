"""One socket's stay in the gateway, from its CONNECT until its connection chain has unwound."""

from __future__ import annotations

import asyncio

from gateway.api import Namespace, Socket

__all__ = ["Connection"]


class Connection:
    """The runtime's half of a socket; the transport keeps it beside the wire's half.

    `scope` is what plugins see of the namespace. `accepted` turns true when the connection chain
    reaches its end, `expired` when it did not do so in time. `reason` is why the socket left,
    `None` while it is there; `gone` is done when it has left for good, and the chain unwinds.
    """

    __slots__ = (
        "_queues",
        "accepted",
        "cancellable",
        "expired",
        "gone",
        "limit",
        "reason",
        "scope",
        "socket",
        "task",
        "waiting",
    )

    def __init__(self, socket: Socket, scope: Namespace) -> None:
        self.socket = socket
        self.scope = scope
        self.accepted = False
        self.reason: str | None = None
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.limit: asyncio.TimerHandle | None = None
        self.expired = False
        self.task: asyncio.Task[None] | None = None
        self.waiting = 0
        self.cancellable: set[asyncio.Task[None]] = set()
        self._queues: dict[str, asyncio.Lock] = {}

    def expire(self) -> None:
        """The chain has not reached its end in time."""
        assert self.task is not None
        self.expired = True
        self.task.cancel()

    def unwind(self) -> None:
        """Let the chain go on after its `next()`, if no middleware has cancelled that."""
        if not self.gone.done():
            self.gone.set_result(None)

    def queue(self, name: str) -> asyncio.Lock:
        """The queue of that name: a lock, since asyncio's are taken in the order of asking."""
        return self._queues.setdefault(name, asyncio.Lock())

    def cancellable_until_done(self, task: asyncio.Task[None]) -> None:
        """Have `task` cancelled when the socket is gone."""
        self.cancellable.add(task)
        task.add_done_callback(self.cancellable.discard)
