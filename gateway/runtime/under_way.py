"""The packets under way: how many there are, and whether one more may begin."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Literal

from gateway.runtime.blueprint import Generation, NamespaceBlueprint
from gateway.runtime.connection import Connection
from gateway.runtime.load import Load

__all__ = ["PacketLimit", "UnderWay"]

PacketLimit = Literal["handlers", "handlers_per_socket", "overload_after"]

CROWDED = 0.8
"""The share of the packets there may be at which nobody new is let in."""


class UnderWay:
    """Counts packets that wait for something: those that do not are never more than one."""

    def __init__(self) -> None:
        self.load = Load()
        self.count = 0
        self._in: Counter[str] = Counter()

    def refuses(
        self, connection: Connection, generation: Generation, namespace: NamespaceBlueprint
    ) -> PacketLimit | None:
        """The limit for which a packet cannot begin, if there is one."""
        own = namespace.limits
        if connection.waiting >= own.handlers_per_socket:
            return "handlers_per_socket"
        if self.count >= generation.blueprint.limits.handlers:
            return "handlers"
        if self._in[namespace.name] >= own.handlers:
            return "handlers"
        is_late = self.load.is_high and asyncio.get_running_loop().time() > self.load.refuse_at
        return "overload_after" if is_late else None

    def turns_away(self, generation: Generation) -> PacketLimit | None:
        """The limit for which nobody new is to be let in: they are refused before packets are."""
        if self.load.is_high:
            return "overload_after"
        return "handlers" if self.count >= CROWDED * generation.blueprint.limits.handlers else None

    def enter(self, connection: Connection) -> None:
        """A packet waits."""
        connection.waiting += 1
        self.count += 1
        self._in[connection.socket.namespace] += 1

    def leave(self, connection: Connection) -> None:
        """It is done."""
        connection.waiting -= 1
        self.count -= 1
        self._in[connection.socket.namespace] -= 1
