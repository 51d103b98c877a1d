"""The table of sockets: who is here, where, and from where."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gateway.api import Socket, Value
from gateway.engineio.bucket import Bucket
from gateway.engineio.frame import Frames
from gateway.engineio.limit import Limit
from gateway.runtime.connection import Connection
from gateway.runtime.limits import Limits, NamespaceLimits
from gateway.socketio.server import Client

__all__ = ["Peer", "Peers"]


@dataclass(slots=True, eq=False)
class Peer:
    """The wire's half of a socket.

    `early` holds what was emitted before CONNECT went out, and is `None` afterwards; `calls` are
    those who await an ack; `packets` are those its client may still send in this second.
    """

    client: Client[Peer]
    socket: Socket
    packets: Bucket
    connection: Connection | None = None
    early: list[Frames] | None = field(default_factory=list)
    calls: set[asyncio.Future[list[Value]]] = field(default_factory=set)


class Peers:
    """Peers by the id of their socket, counted by namespace and by address."""

    def __init__(self) -> None:
        self._peers: dict[str, Peer] = {}
        self._namespaces: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()
        self.get = self._peers.get

    def __iter__(self) -> Iterator[Peer]:
        return iter(tuple(self._peers.values()))

    def __len__(self) -> int:
        return len(self._peers)

    def __contains__(self, id: str) -> bool:
        return id in self._peers

    def __getitem__(self, id: str) -> Peer:
        return self._peers[id]

    @property
    def counts(self) -> Mapping[str, int]:
        """How many there are in each namespace."""
        return +self._namespaces

    def add(self, peer: Peer) -> None:
        self._peers[peer.socket.id] = peer
        self._namespaces[peer.socket.namespace] += 1
        self._addresses[peer.client.opening.address] += 1

    def remove(self, peer: Peer) -> None:
        """Forget a peer; one that is gone is no error."""
        if self._peers.pop(peer.socket.id, None) is None:
            return
        address = peer.client.opening.address
        self._namespaces[peer.socket.namespace] -= 1
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]

    def limit(
        self, namespace: str, address: str, limits: Limits, own: NamespaceLimits
    ) -> Limit | None:
        """The limit for which there is no room for one more, if there is one."""
        if len(self) >= limits.sockets or self._namespaces[namespace] >= own.sockets:
            return "sockets"
        here = self._addresses.get(address, 0)
        return "sockets_per_address" if here >= limits.sockets_per_address else None
