"""Peers on other machines: the frames of `gateway.cluster.peer` over TCP."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Iterator

import msgspec

from gateway.cluster.peer import Frame, Mesh, Peer
from gateway.runtime.live import FAULT

__all__ = ["LinkMesh", "LinkPeer"]

LOG = logging.getLogger("sockgw.cluster")

MOST_FRAME = 2**26
"""Bytes of a frame; a larger one ends the link."""

CODING_ERRORS = (msgspec.MsgspecError, struct.error, ValueError)
"""What the payload of a frame that is none raises."""


class LinkPeer(Peer):
    """A member on another machine. `heard` is when it sent something, by the loop's clock.

    `gone` is done when its link is lost; its result is why, in words.
    """

    def __init__(self, tag: str, mesh: Mesh) -> None:
        super().__init__(tag, mesh)
        loop = asyncio.get_running_loop()
        self.heard = loop.time()
        self.gone: asyncio.Future[str] = loop.create_future()
        self._why = "the other end has closed the connection"

    def send(self, kind: Frame, *payload: bytes) -> bool:
        return sum(map(len, payload)) <= MOST_FRAME and super().send(kind, *payload)

    def cut(self, why: str) -> None:
        """Drop the connection, and say why."""
        if self._transport is not None and not self._transport.is_closing():
            self._why = why
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self.heard = asyncio.get_running_loop().time()
        super().data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.gone.done():
            self.gone.set_result(self._why)
        super().connection_lost(error)

    def _frames(self) -> Iterator[tuple[Frame, bytes, int]]:
        start = 0
        try:
            for frame in super()._frames():
                yield frame
                start = frame[2]
        except ValueError:
            self.cut("it sends frames of an unknown kind")
            return
        if self._size_at(start) > MOST_FRAME:
            self.cut(f"it sends a frame of more than {MOST_FRAME} bytes")


class LinkMesh(Mesh):
    """The peers that this member is linked to, and those that are linked to it.

    Requests for sessions of a peer go to the one in `peers`; those of its clients come from another
    connection, which it has made.
    """

    def handle(self, peer: Peer, kind: Frame, payload: bytes) -> None:
        handle = self._handlers.get(kind)
        if handle is None:
            return
        try:
            handle(peer, payload)
        except CODING_ERRORS as error:
            assert isinstance(peer, LinkPeer)
            peer.cut(f"it sends a frame that cannot be decoded: {error}")
        except Exception:
            LOG.exception(FAULT)
