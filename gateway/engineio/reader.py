"""Reads WebSocket frames, without I/O: bytes come in, messages and control frames go out.

It is strict, and fails at the first byte that is wrong: before the rest of a head, a payload or a
fragmented message has come.
https://www.rfc-editor.org/rfc/rfc6455#section-5
https://www.rfc-editor.org/rfc/rfc7692#section-7.2.2
"""

from __future__ import annotations

import codecs
import zlib
from dataclasses import dataclass
from enum import Enum
from io import StringIO
from typing import Protocol, TypeAlias

# In C, and private to aiohttp: `tests/engineio/test_reader.py` checks what we rely on.
from aiohttp._websocket.helpers import websocket_mask as unmask

from gateway.engineio.frames import CloseCode
from gateway.engineio.packet import Message

__all__ = [
    "FIN_TEXT",
    "LONGER",
    "SIZES",
    "Event",
    "FrameError",
    "FrameReader",
    "Ping",
    "Signal",
    "not_utf8",
    "unmask",
]

FIN, RSV1, OPCODE = 0x80, 0x40, 0x0F
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FIN_TEXT, FIN_CLOSE = FIN | TEXT, FIN | CLOSE

MASKED = 0x80
"""The bit of a masked frame, in its second byte."""

SIZES = tuple(byte - MASKED if MASKED <= byte <= 253 else 2**31 for byte in range(256))
"""Sizes of short payloads by the second byte of a masked frame; of any other, more than may be."""

SHORT = 125
"""Size of the largest payload whose length is in the second byte, in bytes."""

CONTROLS = frozenset({FIN | CLOSE, FIN | PING, FIN | PONG})
STARTS = frozenset({TEXT, FIN | TEXT, BINARY, FIN | BINARY})
DEFLATED_STARTS = frozenset(RSV1 | first for first in STARTS)
WHOLE = frozenset({FIN | TEXT, FIN | BINARY})
CONTINUATIONS = frozenset({CONTINUATION, FIN | CONTINUATION})
"""First bytes of the frames that stand alone, begin a message, are one, or continue it."""

LONGER = b"\xfe"
"""The second byte of a masked frame whose length is in the next two."""

LENGTHS = {126: (2, SHORT + 1), 127: (8, 2**16)}
"""Size of a longer length in bytes, and the least that it may say, by the second byte."""

CODES = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})
"""Codes that a close frame may have: https://www.rfc-editor.org/rfc/rfc6455#section-7.4"""

DEFLATE_TAIL = b"\x00\x00\xff\xff"
"""The end of each compressed message, which is left out on the wire."""

UTF8 = codecs.getincrementaldecoder("utf-8")


class FrameError(ValueError):
    """Bytes that are not valid; `code` is what the connection is closed with."""

    def __init__(self, code: CloseCode, why: str) -> None:
        super().__init__(why)
        self.code = code


def not_utf8() -> FrameError:
    """The error of text that is not UTF-8."""
    return FrameError(CloseCode.INVALID_DATA, "text that is not UTF-8")


class Signal(Enum):
    """A frame without content: a close frame, a pong, or a part of a message but the last."""

    CLOSE = "close"
    PONG = "pong"
    PART = "part"


@dataclass(frozen=True, slots=True)
class Ping:
    """A ping frame; its answer has the same payload."""

    payload: bytes


Event: TypeAlias = Message | Ping | Signal
"""Each frame is one event; a fragmented message comes with its last frame."""


class FrameReader:
    """Reads the frames of one client. Call `feed` with what comes, then `next` until it is `None`.

    `limit` is the size of the largest message, in bytes, compressed or not; `inflates` is true if
    permessage-deflate was agreed on. `data` is what was fed and may be read, from `at` on: a frame
    is read as it comes, so this is what `next` was not called for, or part of a head or a control
    frame. While `is_fresh`, no frame or message is begun, and short text is within the limit.
    """

    __slots__ = (
        "_content",
        "_first",
        "_front",
        "_inflater",
        "_left",
        "_limit",
        "_mask",
        "_size",
        "_starts",
        "at",
        "data",
        "is_fresh",
    )

    def __init__(self, limit: int, *, inflates: bool = False) -> None:
        self.data, self.at = b"", 0
        self._limit = limit
        self._starts = STARTS | CONTROLS | (DEFLATED_STARTS if inflates else frozenset())
        self._inflater: _Inflater | None = None  # kept between messages: they share a window
        self._first: int | None = None  # first byte of the frame that is being read
        self._left = 0  # bytes of its payload that are still to come
        self._mask = b""  # for the first of these
        self._content: _Content | None = None  # of the message that is being read
        self._size = 0  # of that message, in bytes on the wire
        self._front: Event | None = None  # it was looked at, and is next
        self.is_fresh = limit >= SHORT  # none of the above is begun

    @property
    def unread(self) -> int:
        """Bytes that were fed and not read."""
        return len(self.data) - self.at

    def feed(self, data: bytes) -> None:
        """Add what came behind what was fed before."""
        if data:
            self.data, self.at = self.data[self.at :] + data, 0

    def next(self) -> Event | None:
        """The next frame; `None` until more bytes have come. Raises `FrameError`.

        An inbox reads most text without calling this.
        """
        try:
            if self.is_fresh and (message := self.whole()) is not None:
                return message
            return self._next()
        except UnicodeDecodeError:
            raise not_utf8() from None

    def whole(self) -> Message | None:
        """The next message, while `is_fresh`, if it is one frame up to 64 KiB that is all there.

        Most are. For anything else this is `None`, and `next` reads it. Raises
        `UnicodeDecodeError` for bad text.
        """
        data, at = self.data, self.at
        end = len(data)
        body = at + 6
        if body >= end:
            return None
        first, size = data[at], SIZES[data[at + 1]]
        stop = body + size
        if stop > end and data[at + 1] == MASKED | 126:
            body += 2
            size = data[at + 2] << 8 | data[at + 3]
            stop = body + size
            if size <= SHORT:
                return None
        if stop > end or size > self._limit or first not in WHOLE:
            return None
        payload = bytearray(data[body:stop])
        unmask(data[body - 4 : body], payload)
        self.at = stop
        return payload.decode() if first == FIN_TEXT else bytes(payload)

    def peek(self) -> Event | None:
        """The next frame, without reading it; `None` and errors are those of `next`."""
        if self._front is None:
            self._front = self.next()
            self.is_fresh = False
        return self._front

    def _next(self) -> Event | None:
        """Read any frame, or as much of it as there is."""
        event, self._front = self._front, None
        if event is None and (self._first is not None or self._read_head()):
            assert self._first is not None
            control = self._first & CLOSE
            event = self._read_control(self._first) if control else self._read_data(self._first)
        if event is not None:
            self._first = None
        self.is_fresh = self._first is None and self._content is None and self._limit >= SHORT
        return event

    # Heads

    def _read_head(self) -> bool:
        """Read the head of a frame; false if it is incomplete."""
        head = self.data[self.at : self.at + 14]
        if not head:
            self.data, self.at = b"", 0
            return False
        first = head[0]
        allowed = self._starts if self._content is None else CONTINUATIONS | CONTROLS
        if first not in allowed:
            raise FrameError(CloseCode.PROTOCOL_ERROR, _fault(first, self._content is not None))
        if len(head) < 2:
            return False
        size = self._length(first, head)
        body = 6 + (LENGTHS[head[1] - MASKED][0] if size > SHORT else 0)
        if len(head) < body:
            return False
        self._first, self._left = first, size
        self._mask = head[body - 4 : body]
        self.at += body
        return True

    def _length(self, first: int, head: bytes) -> int:
        """The length that a head gives; the least that it can be, if it is incomplete."""
        if head[1] < MASKED:
            raise FrameError(CloseCode.PROTOCOL_ERROR, "a frame that is not masked")
        size = head[1] - MASKED
        if first & CLOSE:
            if size > SHORT or (first == FIN_CLOSE and size == 1):
                raise FrameError(CloseCode.PROTOCOL_ERROR, "a control frame of a wrong size")
            return size
        if size > SHORT:
            width, least = LENGTHS[size]
            length = head[2 : 2 + width]
            if int.from_bytes(length.ljust(width, b"\xff")) < least:
                raise FrameError(CloseCode.PROTOCOL_ERROR, "a length that is not the shortest")
            size = max(int.from_bytes(length.ljust(width, b"\x00")), least)
        if self._size + size > self._limit:
            raise FrameError(CloseCode.TOO_BIG, f"a message of {self._size + size} bytes or more")
        return size

    # Payloads

    def _take(self) -> bytearray:
        """The part of the payload that has come, unmasked."""
        data = bytearray(memoryview(self.data)[self.at : self.at + self._left])
        unmask(self._mask, data)
        return data

    def _read_control(self, first: int) -> Event | None:
        payload = self._take()
        is_whole = len(payload) == self._left
        if first == FIN_CLOSE:
            _check_close(payload, is_whole)
        if not is_whole:
            return None
        self.at += self._left
        if first == FIN_CLOSE:
            return Signal.CLOSE
        return Ping(bytes(payload)) if first == FIN | PING else Signal.PONG

    def _read_data(self, first: int) -> Event | None:
        payload = self._take()
        if self._left and not payload:
            return None
        self.at += len(payload)
        self._left -= len(payload)
        content = self._content
        if content is None:
            if first == FIN_TEXT and not self._left:
                return payload.decode()
            if first == FIN | BINARY and not self._left:
                return bytes(payload)
            content = self._content = self._begin(first)
        self._size += len(payload)
        content.add(payload)
        if self._left:
            turned = len(payload) % 4
            self._mask = self._mask[turned:] + self._mask[:turned]
            return None
        if not first & FIN:
            return Signal.PART
        self._content, self._size = None, 0
        return content.end()

    def _begin(self, first: int) -> _Content:
        content = _Text() if first & OPCODE == TEXT else _Bytes()
        if not first & RSV1:
            return content
        if self._inflater is None or self._inflater.is_over:
            self._inflater = _Inflater()
        return _Compressed(content, self._inflater, self._limit)


def _fault(first: int, is_inside: bool) -> str:
    """Say why a frame may not begin with this byte."""
    opcode = first & OPCODE
    if opcode not in {CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG}:
        return f"a frame with the unknown opcode {opcode}"
    if first & ~FIN & ~OPCODE:
        return "a frame with a reserved bit"
    if opcode & CLOSE:
        return "a control frame in parts"
    return "a message inside another" if is_inside else "a continuation of no message"


def _check_close(payload: bytearray, is_whole: bool) -> None:
    """Check what has come of a close frame's payload: a code and a reason in UTF-8, or nothing."""
    if len(payload) > 1 and (code := int.from_bytes(payload[:2])) not in CODES:
        raise FrameError(CloseCode.PROTOCOL_ERROR, f"a close frame with the code {code}")
    _decode(UTF8(), payload[2:], final=is_whole)


def _decode(decoder: codecs.IncrementalDecoder, data: bytes | bytearray, *, final: bool) -> str:
    """Decode text as it comes. Raises `UnicodeDecodeError` at the first wrong byte."""
    text = decoder.decode(data, final)
    held, _ = decoder.getstate()
    if held[:1] == b"\xed" and held[1:] >= b"\xa0":  # half a surrogate: Python waits for the rest
        decoder.decode(b"\x80")
    return text


class _Content(Protocol):
    """The content of a message that comes in parts."""

    def add(self, data: bytes | bytearray) -> None: ...

    def end(self) -> Message: ...


class _Text:
    """Text, checked as it comes; see `_decode`."""

    __slots__ = ("_decoder", "_text")

    def __init__(self) -> None:
        self._decoder, self._text = UTF8(), StringIO()

    def add(self, data: bytes | bytearray) -> None:
        self._text.write(_decode(self._decoder, data, final=False))

    def end(self) -> str:
        _decode(self._decoder, b"", final=True)
        return self._text.getvalue()


class _Bytes:
    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, data: bytes | bytearray) -> None:
        self._data += data

    def end(self) -> bytes:
        return bytes(self._data)


class _Compressed:
    """Compressed content, of which no more than `limit` bytes are ever expanded."""

    __slots__ = ("_content", "_inflater", "_room")

    def __init__(self, content: _Content, inflater: _Inflater, limit: int) -> None:
        self._content, self._inflater, self._room = content, inflater, limit

    def add(self, data: bytes | bytearray) -> None:
        expanded = self._inflater.expand(data, self._room + 1)
        self._room -= len(expanded)
        if self._room < 0:
            raise FrameError(CloseCode.TOO_BIG, "a message that expands beyond the limit")
        self._content.add(expanded)

    def end(self) -> Message:
        if not self._inflater.is_over:
            self.add(DEFLATE_TAIL)
        return self._content.end()


class _Inflater:
    """The decompressor of one client. Messages may refer to those before them.

    A message may have a final block, behind which there is only padding; then the next message
    needs another inflater. https://www.rfc-editor.org/rfc/rfc7692#section-7.2.3.4
    """

    __slots__ = ("_stream",)

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=-zlib.MAX_WBITS)

    @property
    def is_over(self) -> bool:
        """True once there was a final block."""
        return self._stream.eof

    def expand(self, data: bytes | bytearray, most: int) -> bytes:
        """Decompress to at most this many bytes; what has more is not used again."""
        expanded, rest = b"", data
        try:
            if not self.is_over:
                expanded = self._stream.decompress(data, most)
                rest = self._stream.unused_data
        except zlib.error as error:
            raise FrameError(CloseCode.INVALID_DATA, f"bad compressed data: {error}") from None
        if rest.strip(b"\x00"):
            raise FrameError(CloseCode.INVALID_DATA, "data behind the end of the compressed data")
        return expanded
