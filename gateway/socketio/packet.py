"""Socket.IO protocol 5 packets, decoded once and strictly.

Source: https://github.com/socketio/socket.io/blob/main/docs/socket.io-protocol/v5-current.md and,
for packets that are refused, socket.io-parser 4.2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from gateway.api import Value
from gateway.engineio.frames import Frames
from gateway.engineio.packet import MESSAGE, Message
from gateway.socketio import json as strict

__all__ = [
    "ACK",
    "BINARY_ACK",
    "BINARY_EVENT",
    "CONNECT",
    "CONNECT_ERROR",
    "DISCONNECT",
    "EVENT",
    "HEAVY",
    "MAX_ATTACHMENTS",
    "RESERVED",
    "Packet",
    "PacketError",
    "weight",
]

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR, BINARY_EVENT, BINARY_ACK = range(7)

MAX_ATTACHMENTS = 10
"""The most attachments that socket.io-parser allows in a packet, on either side."""

HEAVY = 4096
"""Size from which a message counts as more than one packet, by what it holds."""

VALUES = 100
"""Values of a heavy message that count as one packet: about what reading them costs."""

SHORT_VALUES = bytes((*range(0x80, 0xA0), 0xC0))
"""The bytes of MessagePack that are whole values, or begin maps and arrays."""

RESERVED = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
"""Events that a client must not send (socket.io-parser, RESERVED_EVENTS)."""

_HEAD = re.compile(
    r"(?P<type>[0-6])"
    r"(?:(?P<attachments>[0-9]{1,4})-)?"
    r"(?:(?P<namespace>/[^,]{0,255})(?:,|\Z))?"
    r"(?P<id>[0-9]{1,15})?"
    r"(?![0-9])"
)


class PacketError(ValueError):
    """A packet that the protocol does not allow; the message says why."""


class Packet:
    """One packet. `data` is the payload: `[event, *args]` for an event, a list for an ack.

    A packet with attachments is complete once it is filled with them. `size` is that of the
    messages that it was decoded from.
    """

    __slots__ = ("attachment_count", "data", "id", "namespace", "packet_type", "size")

    def __init__(
        self,
        packet_type: int = EVENT,
        data: Any = None,
        namespace: str | None = None,
        id: int | None = None,
        encoded_packet: str | bytes | None = None,
    ) -> None:
        self.packet_type = packet_type
        self.data = data
        self.namespace = namespace or "/"
        self.id = id
        self.attachment_count = 0
        self.size = 0
        if encoded_packet is not None:
            self.size = len(encoded_packet)
            self._decode(encoded_packet)

    def encode(self) -> list[str | bytes]:
        """The packet as messages: its text, then one message of bytes for each attachment.

        Raises `TypeError` or `ValueError` for data that cannot be sent.
        """
        text, *attachments = self.frames(
            self.packet_type, self.data, self.namespace, self.id
        ).packets
        assert isinstance(text, str)
        return [text.removeprefix(MESSAGE), *attachments]

    @classmethod
    def frames(
        cls, packet_type: int, data: object, namespace: str, id: int | None = None
    ) -> Frames:
        """Encode a packet for the engine, to be sent to any number of sessions.

        Raises the same as `encode`.
        """
        attachments: list[bytes] = []
        payload = b"" if data is None else strict.dumps(data, attachments)
        if attachments:
            text = _binary_text(packet_type, payload, namespace, id, len(attachments))
            return Frames([text.decode(), *attachments])
        return Frames.of_text(_head(packet_type, namespace, id) + payload)

    @staticmethod
    def plain_event(message: str | bytes) -> tuple[list[Value], int | None] | None:
        """The payload and the ack id of an event in `/` without bytes; most packets are such.

        `None` for everything else: `check_arrival` and decoding report what is wrong with it.
        """
        if isinstance(message, bytes) or not message.startswith("2"):
            return None
        start = message.find("[", 1, 17)
        digits = message[1:start] if start > 1 else ""
        if start < 1 or (digits and not (digits.isascii() and digits.isdigit())):
            return None
        try:
            data = strict.loads(message[start:])
        except ValueError:
            return None
        if not isinstance(data, list) or not data:
            return None
        event = data[0]
        if not isinstance(event, str) or event in RESERVED:
            return None
        return data, int(digits) if digits else None

    def check_arrival(self) -> None:
        """Raise `PacketError` for a packet that a client may not send."""
        data = self.data
        if self.packet_type in (EVENT, BINARY_EVENT):
            if not isinstance(data, list) or not data or not isinstance(data[0], str):
                raise PacketError("an event is an array that begins with its name")
            if data[0] in RESERVED:
                raise PacketError(f"event '{data[0]}' is reserved")
        elif self.packet_type in (ACK, BINARY_ACK):
            if not isinstance(data, list) or self.id is None:
                raise PacketError("an ack is an array with an id")
        elif self.packet_type == CONNECT:
            if data is not None and not isinstance(data, dict):
                raise PacketError("auth must be an object")
        elif self.packet_type == DISCONNECT:
            if data is not None:
                raise PacketError("a DISCONNECT carries nothing")
        else:
            raise PacketError("a client cannot send CONNECT_ERROR")

    def fill(self, attachments: Sequence[bytes]) -> None:
        """Put the attachments into `data`. Raises `PacketError` if they do not fit."""
        self.data = _fill(self.data, dict(enumerate(attachments)))
        self.size += sum(map(len, attachments))

    def _decode(self, text: str | bytes) -> None:
        if not isinstance(text, str):
            raise PacketError("bytes that belong to no packet")
        payload = self._decode_head(text)
        if not payload:
            return
        try:
            self.data = strict.loads(payload)
        except ValueError as error:
            raise PacketError(f"payload is not JSON: {error}") from None
        if self.data is None:
            raise PacketError("a payload is an array or an object")

    def _decode_head(self, text: str) -> str:
        """Read the part before the payload, and return the payload."""
        head = _HEAD.match(text)
        if head is None:
            raise PacketError("not a packet")
        self.packet_type = int(head["type"])
        self.namespace = (head["namespace"] or "/").partition("?")[0]
        self.id = int(head["id"]) if head["id"] else None
        self._check_attachments(head["attachments"])
        return text[head.end() :]

    def _check_attachments(self, announced: str | None) -> None:
        if (announced is not None) != (self.packet_type in (BINARY_EVENT, BINARY_ACK)):
            raise PacketError("attachments in the wrong type of packet")
        self.attachment_count = int(announced or 0)
        if announced is not None and not 1 <= self.attachment_count <= MAX_ATTACHMENTS:
            raise PacketError(f"attachments are 1 to {MAX_ATTACHMENTS}")


_TYPES = [b"%d" % kind for kind in range(7)]


def _head(packet_type: int, namespace: str, id: int | None) -> bytes:
    """The part before the payload, of a packet without attachments."""
    head = _TYPES[packet_type]
    if namespace != "/":
        head += f"{namespace},".encode()
    return head if id is None else b"%b%d" % (head, id)


def _binary_text(
    packet_type: int, payload: bytes, namespace: str, id: int | None, attachments: int
) -> bytes:
    """The text of a packet with attachments.

    Raises `ValueError` for a packet that would make clients close their connection.
    """
    if attachments > MAX_ATTACHMENTS:
        raise ValueError(f"more than {MAX_ATTACHMENTS} bytes objects cannot be sent in one packet")
    if payload.count(b'"_placeholder":true') != attachments:
        raise ValueError("an object with '_placeholder' cannot be sent along with bytes")
    head = _head(packet_type + BINARY_EVENT - EVENT, namespace, id)
    return b"%b%d-%b%b" % (head[:1], attachments, head[1:], payload)


def _fill(data: object, attachments: dict[int, bytes]) -> object:
    """Put each attachment in its one place: repeating it could make a small packet huge."""
    if isinstance(data, list):
        return [_fill(item, attachments) for item in data]
    if isinstance(data, dict):
        if data.get("_placeholder") is True:
            number = data.get("num")
            if type(number) is not int or number not in attachments:
                raise PacketError("a placeholder without its attachment")
            return attachments.pop(number)
        return {key: _fill(value, attachments) for key, value in data.items()}
    return data


def weight(message: Message) -> int:
    """The packets that a heavy message counts as.

    It is judged by its bytes, because by the time they are read the work is done; text that only
    looks like many values is read more slowly too.
    """
    if isinstance(message, str):
        values = message.count(",") + message.count("[") + message.count("{")
    else:
        values = len(message) - len(message.translate(None, SHORT_VALUES))
    return values // VALUES
