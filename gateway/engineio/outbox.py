"""What a client has yet to take: in order, bounded, and never half of what belongs together."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from gateway.engineio.carrier import WebSocket
from gateway.engineio.frame import Frames
from gateway.engineio.packet import PING, Packet, handshake
from gateway.engineio.settings import Settings, Transport
from gateway.limits import Limits

__all__ = ["Outbox"]


@dataclass(slots=True)
class Parcel:
    """What is sent in one piece or, if it is droppable, perhaps not at all."""

    content: Frames | Packet
    droppable: bool = False

    @property
    def size(self) -> int:
        return self.content.size if isinstance(self.content, Frames) else len(self.content)

    @property
    def packets(self) -> tuple[Packet, ...]:
        return self.content.packets if isinstance(self.content, Frames) else (self.content,)

    def go(self, websocket: WebSocket) -> None:
        if isinstance(self.content, Frames):
            websocket.send_many(self.content)
        else:
            websocket.send(self.content)


class Outbox:
    """Parcels of `size` bytes in all, where text may count by character.

    `taken` are those of the last poll's answer, until that is written. `line` is the WebSocket
    that takes what is sent at this moment; there is none while the client is on polling, or does
    not keep up. What a broadcast sends is in memory once for all outboxes.
    """

    __slots__ = ("_parcels", "line", "size", "taken")

    def __init__(self, id: str, transport: Transport, settings: Settings) -> None:
        self.line: WebSocket | None = None
        self.size = self.taken = 0
        self._parcels: deque[Parcel] = deque()
        # "If the server accepts the connection, then it MUST respond with an open packet"
        self._append(Parcel(handshake(id, transport, settings)))

    def __len__(self) -> int:
        return len(self._parcels)

    def keep(
        self, frames: Frames, droppable: bool, limits: Limits
    ) -> Literal["kept", "dropped", "disconnected"]:
        """Add frames if there is room, or can be made.

        Frames larger than the bounds have room in an outbox that is not full. `dropped` tells
        that something was left out, these frames or others; `disconnected` what is to become
        of a client that there is no room for.
        """
        if not self._is_full(limits):
            self._append(Parcel(frames, droppable))
            return "kept"
        if limits.on_slow == "disconnect":
            return "disconnected"
        if droppable and limits.on_slow == "drop_newest":
            return "dropped"
        while self._is_full(limits):
            if not self._drop(newest=limits.on_slow == "drop_newest"):
                return "dropped" if droppable else "disconnected"
        self._append(Parcel(frames, droppable))
        return "dropped"

    def ping(self, *, first: bool) -> None:
        """Send a ping, before the rest if the client may be long in taking that."""
        if self.line is not None:
            self.line.send(PING)
        elif first:
            self._parcels.appendleft(Parcel(PING))
            self.size += len(PING)
        else:
            self._append(Parcel(PING))

    def flow(self, websocket: WebSocket) -> None:
        """Send what there is, and all that follows, until `line` is taken away."""
        self.line = websocket
        while self._parcels and self.line is not None:
            self._pop().go(websocket)

    def pour(self, websocket: WebSocket) -> None:
        """Send what there is, whether the client takes it or not."""
        while self._parcels:
            self._pop().go(websocket)

    def take(self) -> list[Packet]:
        """Take all packets."""
        packets = [packet for parcel in self._parcels for packet in parcel.packets]
        self._parcels.clear()
        self.taken, self.size = self.size, 0
        return packets

    def _append(self, parcel: Parcel) -> None:
        self._parcels.append(parcel)
        self.size += parcel.size

    def _pop(self) -> Parcel:
        parcel = self._parcels.popleft()
        self.size -= parcel.size
        return parcel

    def _is_full(self, limits: Limits) -> bool:
        if len(self._parcels) >= limits.send_packets:
            return True
        return len(self._parcels) > 0 and self.size + self.taken >= limits.send_buffer

    def _drop(self, *, newest: bool) -> bool:
        for index, parcel in enumerate(reversed(self._parcels) if newest else self._parcels):
            if parcel.droppable:
                del self._parcels[~index if newest else index]
                self.size -= parcel.size
                return True
        return False
