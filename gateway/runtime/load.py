"""The load: the lateness of the loop, the packets in flight, and the limits on both."""

from __future__ import annotations

import asyncio
from collections import Counter
from math import inf
from typing import Literal

from gateway.runtime.blueprint import Generation, NamespaceBlueprint
from gateway.runtime.connection import Connection

__all__ = ["InFlight", "Load"]

PacketLimit = Literal["handlers", "handlers_per_socket", "overload_after"]

PERIOD = 0.2
"""Interval between two measurements, in seconds."""

CROWDED = 0.8
"""The share of `limits.handlers` in flight from which new sockets are refused."""


class Load:
    """Measures at intervals how late the event loop runs.

    `is_high` is true if the last measurement was later than the limit. From then on, packets that
    start after `refuse_at`, in seconds of the loop's clock, are refused. A single stall refuses no
    packet; only a loop that stays late does.
    """

    def __init__(self) -> None:
        self.is_high = False
        self.refuse_at = inf
        self._limit = inf
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, limit: float) -> None:
        """Measure from now on; `limit` is in seconds, `inf` stops measuring."""
        self._limit = limit
        if limit == inf:
            self.stop()
        elif self._timer is None:
            self._arm()

    def stop(self) -> None:
        """Stop measuring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.is_high, self.refuse_at = False, inf

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + PERIOD
        self._timer = loop.call_at(self._due, self._measure)

    def _measure(self) -> None:
        late = asyncio.get_running_loop().time() - self._due
        self.is_high = late > self._limit
        self._arm()
        self.refuse_at = self._due + self._limit if self.is_high else inf


class InFlight:
    """Counts packets that wait for something. Others are never more than one at a time."""

    def __init__(self) -> None:
        self.load = Load()
        self.count = 0
        self._in: Counter[str] = Counter()

    def refuses(
        self, connection: Connection, generation: Generation, namespace: NamespaceBlueprint
    ) -> PacketLimit | None:
        """The limit that forbids a packet to start; `None` if there is none."""
        own = namespace.limits
        if connection.in_flight >= own.handlers_per_socket:
            return "handlers_per_socket"
        if self.count >= generation.blueprint.limits.handlers:
            return "handlers"
        if self._in[namespace.name] >= own.handlers:
            return "handlers"
        is_late = self.load.is_high and asyncio.get_running_loop().time() > self.load.refuse_at
        return "overload_after" if is_late else None

    def refuses_newcomers(self, generation: Generation) -> PacketLimit | None:
        """The limit that forbids a new socket; `None` if there is none.

        New sockets are refused earlier than packets.
        """
        if self.load.is_high:
            return "overload_after"
        return "handlers" if self.count >= CROWDED * generation.blueprint.limits.handlers else None

    def count_while(self, task: asyncio.Task[None], connection: Connection) -> None:
        """Count a packet that waits, until its task is done."""
        self.enter(connection)
        task.add_done_callback(lambda _: self.leave(connection))

    def count_event_while(self, task: asyncio.Task[None]) -> None:
        """Count the handler of a published event, which has no socket, until its task is done."""
        self.count += 1
        task.add_done_callback(self._event_done)

    def enter(self, connection: Connection) -> None:
        """Count a packet that waits."""
        connection.in_flight += 1
        self.count += 1
        self._in[connection.socket.namespace] += 1

    def leave(self, connection: Connection) -> None:
        """Count a packet that is done."""
        connection.in_flight -= 1
        self.count -= 1
        self._in[connection.socket.namespace] -= 1

    def _event_done(self, task: asyncio.Task[None]) -> None:
        self.count -= 1
