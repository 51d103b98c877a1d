"""WebSocket frames as a server writes them, final and unmasked, and the codes of close frames.

https://www.rfc-editor.org/rfc/rfc6455#section-5.2
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from enum import IntEnum

from gateway.engineio.packet import MESSAGE, Message, Packet, utf8

__all__ = ["CloseCode", "Frames", "close_frame", "deflated_frame", "frame", "pong_frame"]

FIN_TEXT, FIN_BINARY, FIN_CLOSE, FIN_PONG, RSV1 = 0x81, 0x82, 0x88, 0x8A, 0x40


class CloseCode(IntEnum):
    """The codes that the gateway closes a WebSocket with.

    https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1
    """

    OK = 1000
    PROTOCOL_ERROR = 1002
    INVALID_DATA = 1007
    TOO_BIG = 1009


class Frames:
    """Messages that belong together, encoded once for all sessions that get them.

    `encoded` caches `wire`; `None` until that is first read.
    """

    __slots__ = ("_message", "_packets", "encoded")

    def __init__(self, messages: Iterable[Message]) -> None:
        self._packets: tuple[Packet, ...] | None = tuple(
            MESSAGE + message if isinstance(message, str) else message for message in messages
        )
        self._message = b""
        self.encoded: bytes | None = None

    @classmethod
    def of_text(cls, message: bytes) -> Frames:
        """Make the frames of one text message, given in UTF-8. Most events are sent this way."""
        frames = cls.__new__(cls)
        frames._message = message
        frames._packets = frames.encoded = None
        return frames

    @property
    def size(self) -> int:
        """Bytes of the messages, which never change; messages of type `str` count by character."""
        return len(self._message) or sum(map(len, self._packets or ()))

    @property
    def packets(self) -> tuple[Packet, ...]:
        """The messages as Engine.IO packets, for polling."""
        if self._packets is None:
            self._packets = (MESSAGE + self._message.decode(),)
        return self._packets

    @property
    def wire(self) -> bytes:
        """The WebSocket frames of all the messages."""
        wire = self.encoded
        if wire is None:
            if self._packets is None:
                size = len(self._message)
                head = _HEADS[size] if size < SHORT else _text_head(size)
                wire = head + self._message
            else:
                wire = b"".join(map(frame, self._packets))
            self.encoded = wire
        return wire


def frame(packet: Packet) -> bytes:
    """Encode a packet as one frame."""
    if isinstance(packet, str):
        data = utf8(packet)
        return _head(FIN_TEXT, len(data)) + data
    return _head(FIN_BINARY, len(packet)) + packet


def deflated_frame(packet: Packet, window_bits: int) -> bytes:
    """Encode a packet as one frame compressed with permessage-deflate.

    Each message is compressed on its own, which every client can read: a compressor kept for each
    connection would cost a quarter of a megabyte.
    https://www.rfc-editor.org/rfc/rfc7692#section-7.2.1
    """
    first, data = (FIN_TEXT, utf8(packet)) if isinstance(packet, str) else (FIN_BINARY, packet)
    deflate = zlib.compressobj(wbits=-window_bits)
    data = (deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]
    return _head(first | RSV1, len(data)) + data


def close_frame(code: CloseCode) -> bytes:
    """The frame that starts or confirms the closing handshake."""
    return struct.pack("!BBH", FIN_CLOSE, 2, code)


def pong_frame(data: bytes) -> bytes:
    """The answer to a ping frame that carried `data`, at most 125 bytes."""
    return _head(FIN_PONG, len(data)) + data


def _head(first: int, size: int) -> bytes:
    if size < 126:
        return bytes((first, size))
    if size < 65536:
        return struct.pack("!BBH", first, 126, size)
    return struct.pack("!BBQ", first, 127, size)


def _text_head(size: int) -> bytes:
    """The head of a text message's frame, followed by the packet's type."""
    return _head(FIN_TEXT, size + 1) + MESSAGE.encode()


SHORT = 125
_HEADS = list(map(_text_head, range(SHORT)))
"""Heads of short text messages, by message size in bytes."""
