"""Shares: limits that hold for all workers of a machine together.

Each member tells the others how many sessions and sockets it has, by address, by namespace and by
user: the changes of one turn of the loop in one frame. A frame without a payload asks for
everything; a member sends it once it can take the answer. Limits may be exceeded by what other
members admit in the time that a frame needs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial

import msgspec

from gateway.cluster.peer import MOST_WAITING, Frame, Mesh, Peer
from gateway.engineio.engine import Engine
from gateway.http.addresses import SharedCounts
from gateway.socketio.rooms import Rooms

__all__ = ["Shares"]

SESSIONS = 0
"""The table of sessions by address: each that is added uses up the rate of new ones."""

RETRY = 1.0
"""Seconds until a peer that did not take the changes is told everything."""


class Changes(msgspec.Struct, array_like=True):
    """Changes of counts by table and key; with `is_all`, they are all that the sender has.

    `admitted` is the number of sessions that it has admitted since it last told.
    """

    is_all: bool
    admitted: int
    counts: list[tuple[int, str, int]]


class Shares:
    """Tells the peers in a mesh what an engine and its rooms have, and these what peers have."""

    def __init__(self, engine: Engine, rooms: Rooms, mesh: Mesh) -> None:
        self._engine, self._mesh = engine, mesh
        self._tables: tuple[SharedCounts, ...] = (
            engine.admission.addresses,
            rooms.addresses,
            rooms.by_namespace,
            rooms.by_user,
        )
        self._changes: Counter[tuple[int, str]] = Counter()
        self._admitted = 0
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
        if table == SESSIONS and change > 0:
            self._admitted += change

    def _tell(self) -> None:
        """Tell the peers what they have not been told yet."""
        changes, self._changes = self._changes, Counter()
        admitted, self._admitted = self._admitted, 0
        if not changes:
            return
        payload = _encoded(Changes(False, admitted, _listed(changes)))
        for peer in self._mesh.peers.values():
            if peer not in self._behind and not peer.send(Frame.COUNTS, payload):
                self._fall_behind(peer)

    def _tell_all(self, peer: Peer) -> None:
        self._tell()  # or it would be told of these changes once more
        counts = Counter(
            {
                (number, key): count
                for number, table in enumerate(self._tables)
                for key, count in table.items()
            }
        )
        self._behind.discard(peer)
        if not peer.send(Frame.COUNTS, _encoded(Changes(True, 0, _listed(counts)))):
            self._fall_behind(peer)

    def _fall_behind(self, peer: Peer) -> None:
        if not self._behind:
            asyncio.get_running_loop().call_later(RETRY, self._catch_up)
        self._behind.add(peer)

    def _catch_up(self) -> None:
        behind, self._behind = self._behind, set()
        for peer in behind:
            if peer.waiting > MOST_WAITING:
                self._fall_behind(peer)
            elif peer.is_up:
                self._tell_all(peer)

    def _joined(self, peer: Peer) -> None:
        peer.send(Frame.COUNTS)

    def _lost(self, peer: Peer) -> None:
        self._behind.discard(peer)
        self._forget(peer)

    def _take(self, peer: Peer, payload: bytes) -> None:
        if not payload:
            self._tell_all(peer)
            return
        changes = self._decoder.decode(payload)
        if changes.is_all:
            self._forget(peer)
        if changes.admitted:
            self._engine.admission.admitted_elsewhere(changes.admitted, self._engine.limits)
        known = self._of_peers.setdefault(peer, Counter())
        for number, key, change in changes.counts:
            known[number, key] += change
            if not known[number, key]:
                del known[number, key]
            self._tables[number].change_elsewhere(key, change)

    def _forget(self, peer: Peer) -> None:
        for (number, key), count in self._of_peers.pop(peer, Counter()).items():
            self._tables[number].change_elsewhere(key, -count)


def _encoded(changes: Changes) -> bytes:
    return msgspec.msgpack.encode(changes)


def _listed(counts: Counter[tuple[int, str]]) -> list[tuple[int, str, int]]:
    return [(number, key, count) for (number, key), count in counts.items() if count]
