"""Handover: sessions of the process that this one has replaced are served there until it ends.

A client on polling may open a new connection for each request, and those come to the new process.
It sends requests for sessions that it does not know on, by a peer that is nothing but the way to
the former process: the two share no rooms. A proxy may keep connections to the former process, and
use them for clients of the new one: those requests go the other way.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TypeAlias

from gateway.cluster.forward import RANDOM, Forwarding, OwnedRequest
from gateway.cluster.peer import Mesh, Peer
from gateway.engineio.engine import Engine, Forward
from gateway.engineio.refusals import Refusal, refuse
from gateway.http.connection import HttpServer
from gateway.http.exchange import Connection, Exchange
from gateway.http.request import Request
from gateway.http.switching import websocket_key

__all__ = ["Handover", "Link", "new_links"]

Link: TypeAlias = tuple[socket.socket, socket.socket]
"""One end of the way between two processes: for frames, and for connections."""

LONGEST_TAG = 5
"""Characters of the tag in an id, if there is one."""


def new_links(count: int) -> tuple[list[Link], list[Link]]:
    """Make ways between two processes; return both ends of each."""
    near, far = list[Link](), list[Link]()
    for _ in range(count):
        stream, other_stream = socket.socketpair()
        channel, other_channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        near.append((stream, channel))
        far.append((other_stream, other_channel))
    return near, far


class Handover:
    """The ways from an engine to that of the process before, and of the process after it."""

    def __init__(self, engine: Engine, server: HttpServer) -> None:
        self._engine = engine
        self._find_owner: Callable[[str], Forward | None] | None = None  # the engine's own
        self._passes_upgrades = True
        self._mesh = Mesh("")
        self._forwarding = Forwarding(engine, server, self._mesh, owns_ids=False)

    async def to_former(self, link: Link) -> None:
        """Send requests for unknown sessions to the process before this one, while it lasts."""
        await self._join(link)

    async def from_successor(self, link: Link) -> None:
        """Answer what the process after this one sends, and send it requests for its sessions.

        Not those for a WebSocket: a client that does not get one goes on polling.
        """
        self._passes_upgrades = False
        await self._join(link)

    def close(self) -> None:
        """End all that is on its way."""
        self._forwarding.close()
        self._mesh.close()

    async def _join(self, link: Link) -> None:
        await self._mesh.join(f"{len(self._mesh.peers)}", *link)
        if self._find_owner is None:
            self._find_owner = self._engine.find_owner
            self._engine.find_owner = self._find

    def _find(self, sid: str) -> Forward | None:
        assert self._find_owner is not None
        peers = [peer for peer in self._mesh.peers.values() if peer.is_up]
        is_one = RANDOM <= len(sid) <= LONGEST_TAG + RANDOM
        return self._find_owner(sid) or (self._to(peers[0]) if peers and is_one else None)

    def _to(self, peer: Peer) -> Forward:
        forward = self._forwarding.to(peer)

        def send(request: Request, connection: Connection, fields: str) -> Exchange | None:
            came_from_there = isinstance(connection, OwnedRequest) and self._has(connection.peer)
            if came_from_there or not (self._passes_upgrades or websocket_key(request) is None):
                connection.answer(refuse(Refusal.UNKNOWN_SESSION, fields))
                return None
            return forward(request, connection, fields)

        return send

    def _has(self, peer: Peer) -> bool:
        return peer in self._mesh.peers.values()
