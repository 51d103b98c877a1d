"""Handover: sessions of the process that this one has replaced are served there until it ends.

A client on polling may open a new connection for each request, and those come to the new process.
It sends requests for sessions that it does not know on, by a peer that is nothing but the way to
the former process: the two share no rooms.
"""

from __future__ import annotations

import socket
from typing import TypeAlias

from gateway.cluster.forward import RANDOM, Forwarding
from gateway.cluster.peer import Mesh, Peer
from gateway.engineio.engine import Engine, Forward
from gateway.http.connection import HttpServer

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
        self._mesh = Mesh("")
        self._forwarding = Forwarding(engine, server, self._mesh, owns_ids=False)

    async def to_former(self, link: Link) -> None:
        """Send requests for unknown sessions to the process before this one, while it lasts."""
        peer = await self._mesh.join("former", *link)
        find_owner = self._engine.find_owner

        def find(sid: str) -> Forward | None:
            return find_owner(sid) or self._find_former(peer, sid)

        def lost(gone: Peer) -> None:
            if gone is peer:
                self._engine.find_owner = find_owner

        self._engine.find_owner = find
        self._mesh.on_lost.append(lost)

    async def from_successor(self, link: Link) -> None:
        """Answer what the process after this one sends."""
        await self._mesh.join(f"successor {len(self._mesh.peers)}", *link)

    def close(self) -> None:
        """End all that is on its way."""
        self._forwarding.close()
        self._mesh.close()

    def _find_former(self, peer: Peer, sid: str) -> Forward | None:
        is_one = RANDOM <= len(sid) <= LONGEST_TAG + RANDOM
        return self._forwarding.to(peer) if is_one and peer.is_up else None
