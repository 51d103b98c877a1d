"""A packet whose attachments are still on their way."""

from __future__ import annotations

import asyncio

from gateway.engineio.packet import Message
from gateway.socketio.packet import Packet, PacketError

__all__ = ["Partial"]

KEPT = 4096
"""Longest text whose data are kept, in characters. Data may take 24 times the memory of a text, so
a longer one is read again when its attachments are there."""


class Partial:
    """A packet with attachments, up to the last of them.

    `message` is its text. It and the attachments are `most` bytes at most, in all. `timer` ends the
    session if the attachments do not come.
    """

    __slots__ = ("_attachments", "_packet", "_room", "_text", "timer")

    def __init__(
        self, packet: Packet, message: Message, most: int, timer: asyncio.TimerHandle
    ) -> None:
        self.timer = timer
        self._packet = packet
        self._text = message
        self._attachments: list[bytes] = []
        self._room = most - len(message)
        if len(message) > KEPT:
            packet.data = None

    def add(self, message: Message) -> Packet | None:
        """Add the next attachment, and return the packet if it was the last.

        Raises `PacketError` for text, and for what is too large.
        """
        if isinstance(message, str):
            raise PacketError("text where an attachment is expected")
        self._room -= len(message)
        if self._room < 0:
            raise PacketError("with its attachments, a packet is larger than server.max_payload")
        self._attachments.append(message)
        packet = self._packet
        if len(self._attachments) < packet.attachment_count:
            return None
        if packet.data is None:
            packet = type(packet)(encoded_packet=self._text)
        packet.fill(self._attachments)
        return packet
