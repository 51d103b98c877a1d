"""Shares: limits that hold for all workers of a machine together.

Each member tells the others how many sessions and sockets it has, by address and by namespace: the
changes of one turn of the loop in one frame, and everything to a member that has just joined. So
limits may be exceeded by what other members admit in the time that a frame needs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial

import msgspec

from gateway.cluster.peer import Frame, Mesh, Peer
from gateway.engineio.engine import Engine
from gateway.http.addresses import SharedCounts
from gateway.socketio.rooms import Rooms

__all__ = ["Shares"]


class Changes(msgspec.Struct, array_like=True):
    """Changes of counts by table and key; with `is_all`, they are all that the sender has."""

    is_all: bool
    counts: list[tuple[int, str, int]]


class Shares:
    """Tells the peers in a mesh what an engine and its rooms have, and these what peers have."""

    def __init__(self, engine: Engine, rooms: Rooms, mesh: Mesh) -> None:
        self._admission, self._mesh = engine.admission, mesh
        self._tables: tuple[SharedCounts, ...] = (
            engine.admission.addresses,
            rooms.addresses,
            rooms.by_namespace,
        )
        self._changes: Counter[tuple[int, str]] = Counter()
        self._of_peers: dict[Peer, Counter[tuple[int, str]]] = {}
        self._behind: set[Peer] = set()  # peers that did not take the last changes
        self._decoder = msgspec.msgpack.Decoder(Changes)
        for number, table in enumerate(self._tables):
            table.told = partial(self._changed, number)
        mesh.on(Frame.COUNTS, self._take)
        mesh.on_joined.append(self._joined)
        mesh.on_lost.append(self._lost)

    def _changed(self, table: int, key: str, change: int) -> None:
        if not self._changes:
            asyncio.get_running_loop().call_soon(self._tell)
        self._changes[table, key] += change

    def _tell(self) -> None:
        changes, self._changes = self._changes, Counter()
        payload = _encoded(False, changes)
        for peer in self._mesh.peers.values():
            if peer in self._behind:
                self._tell_all(peer)
            elif not peer.send(Frame.COUNTS, payload):
                self._behind.add(peer)

    def _tell_all(self, peer: Peer) -> None:
        counts = Counter(
            {
                (number, key): count
                for number, table in enumerate(self._tables)
                for key, count in table.items()
            }
        )
        if peer.send(Frame.COUNTS, _encoded(True, counts)):
            self._behind.discard(peer)
        else:
            self._behind.add(peer)

    def _joined(self, peer: Peer) -> None:
        self._admission.members = len(self._mesh.peers) + 1
        self._tell_all(peer)

    def _lost(self, peer: Peer) -> None:
        self._admission.members = len(self._mesh.peers) + 1
        self._behind.discard(peer)
        self._forget(peer)

    def _take(self, peer: Peer, payload: bytes) -> None:
        changes = self._decoder.decode(payload)
        if changes.is_all:
            self._forget(peer)
        known = self._of_peers.setdefault(peer, Counter())
        for number, key, change in changes.counts:
            known[number, key] += change
            if not known[number, key]:
                del known[number, key]
            self._tables[number].change_elsewhere(key, change)

    def _forget(self, peer: Peer) -> None:
        for (number, key), count in self._of_peers.pop(peer, Counter()).items():
            self._tables[number].change_elsewhere(key, -count)


def _encoded(is_all: bool, counts: Counter[tuple[int, str]]) -> bytes:
    changes = [(number, key, count) for (number, key), count in counts.items() if count]
    return msgspec.msgpack.encode(Changes(is_all, changes))
