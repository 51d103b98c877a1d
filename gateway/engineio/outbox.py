"""The outbox: packets that wait for a client, in order and bounded; an event is never split."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf
from typing import Literal, Protocol

from gateway.engineio.drain import Drain
from gateway.engineio.frames import Frames
from gateway.engineio.packet import PING, Packet, handshake
from gateway.engineio.settings import Settings, Transport
from gateway.limits import Limits

__all__ = ["Outbox", "Sink"]

LOW = 0.25
"""Share of `send_buffer` and `send_packets` below which little waits for a client.

The rest is left to those who do not wait, and to what is sent between two waits.
"""

DEFAULT = Limits()


class Sink(Protocol):
    """A connection that sends immediately."""

    def send(self, packet: Packet) -> None: ...

    def send_many(self, frames: Frames) -> None: ...


@dataclass(slots=True)
class Entry:
    """Packets that are sent together; droppable ones may be left out for a slow client."""

    content: Frames | Packet
    droppable: bool = False

    @property
    def size(self) -> int:
        return self.content.size if isinstance(self.content, Frames) else len(self.content)

    @property
    def packets(self) -> tuple[Packet, ...]:
        return self.content.packets if isinstance(self.content, Frames) else (self.content,)

    def send_to(self, sink: Sink) -> None:
        if isinstance(self.content, Frames):
            sink.send_many(self.content)
        else:
            sink.send(self.content)


class Outbox:
    """The entries that wait for one client, `size` bytes in all; text may count by character.

    `taken` is the size of the last poll's answer until that is written. `sink` is the WebSocket
    that packets go to directly; it is `None` while the client is on polling or does not keep up.
    `drain` has the senders that wait until little is left; it is `None` before the first. All
    outboxes share the frames of a broadcast in memory.
    """

    __slots__ = ("_entries", "drain", "sink", "size", "taken")

    def __init__(self, id: str, transport: Transport, settings: Settings) -> None:
        self.sink: Sink | None = None
        self.drain: Drain | None = None
        self.size = self.taken = 0
        self._entries: deque[Entry] = deque()
        # "If the server accepts the connection, then it MUST respond with an open packet"
        self._append(Entry(handshake(id, transport, settings)))

    def __len__(self) -> int:
        return len(self._entries)

    def keep(
        self, frames: Frames, droppable: bool, limits: Limits
    ) -> Literal["kept", "dropped", "disconnected"]:
        """Add frames if there is room, or if dropping others makes room.

        An outbox that is not full takes frames of any size. `dropped` means that these frames or
        others were left out, `disconnected` that there is no room, so the client has to be
        disconnected.
        """
        if not self._is_full(limits):
            self._append(Entry(frames, droppable))
            return "kept"
        if limits.on_slow == "disconnect":
            return "disconnected"
        if droppable and limits.on_slow == "drop_newest":
            return "dropped"
        while self._is_full(limits):
            if not self._drop(newest=limits.on_slow == "drop_newest"):
                return "dropped" if droppable else "disconnected"
        self._append(Entry(frames, droppable))
        return "dropped"

    def limit_met(self, limits: Limits) -> Literal["send_buffer", "send_packets"]:
        """The limit because of which `keep` did not just keep something."""
        return "send_packets" if len(self._entries) >= limits.send_packets else "send_buffer"

    def ping(self) -> None:
        """Send a ping, or add it ahead of the entries that wait: they may take many polls."""
        if self.sink is not None:
            self.sink.send(PING)
        else:
            self._entries.appendleft(Entry(PING))
            self.size += len(PING)

    def attach(self, sink: Sink) -> None:
        """Send all entries to a sink, and what follows too, until `sink` is set to `None`."""
        self.sink = sink
        while self._entries and self.sink is not None:
            self._pop().send_to(sink)

    def flush_all(self, sink: Sink) -> None:
        """Send all entries, even if the client does not keep up."""
        while self._entries:
            self._pop().send_to(sink)

    def take(self, most: float = inf) -> list[Packet]:
        """Remove entries, and return their packets: up to `most`, or those of one entry."""
        before, entries = self.size, self._entries
        if len(entries) == 1:  # most polls
            self.taken, self.size = before, 0
            return list(entries.popleft().packets)
        packets: list[Packet] = []
        while entries and (not packets or len(packets) + len(entries[0].packets) <= most):
            packets += self._pop().packets
        self.taken = before - self.size
        return packets

    def is_low(self, limits: Limits) -> bool:
        """True if packets go out at once, or if little waits.

        Where the limits set no bound, their defaults count.
        """
        if self.sink is not None:
            return True
        size = limits.send_buffer if limits.send_buffer < inf else DEFAULT.send_buffer
        packets = limits.send_packets if limits.send_packets < inf else DEFAULT.send_packets
        return self.size + self.taken < size * LOW and len(self._entries) < packets * LOW

    def wake_senders(self, limits: Limits) -> None:
        """Let those who wait until little is left go on, if that is so."""
        if self.drain is not None and self.is_low(limits):
            self.drain.wake()

    def _append(self, entry: Entry) -> None:
        self._entries.append(entry)
        self.size += entry.size

    def _pop(self) -> Entry:
        entry = self._entries.popleft()
        self.size -= entry.size
        return entry

    def _is_full(self, limits: Limits) -> bool:
        if len(self._entries) >= limits.send_packets:
            return True
        return len(self._entries) > 0 and self.size + self.taken >= limits.send_buffer

    def _drop(self, *, newest: bool) -> bool:
        for index, entry in enumerate(reversed(self._entries) if newest else self._entries):
            if entry.droppable:
                del self._entries[~index if newest else index]
                self.size -= entry.size
                return True
        return False
