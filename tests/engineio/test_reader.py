"""The reader of frames alone: it agrees with aiohttp's, and fails at the first wrong byte."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from aiohttp import WSMsgType
from aiohttp._websocket.helpers import websocket_mask
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.http_websocket import WebSocketReader

from gateway.engineio import reader as module
from gateway.engineio.reader import Event, FrameError, FrameReader, Ping, Signal
from tests.hostile.byte_connection import BINARY, PING, TEXT, close, frame

CONTINUATION, PONG, DEFLATED = 0, 10, 4
LIMIT = 100_000
PROTOCOL, INVALID, LARGE = 1002, 1007, 1009
BIG, HUGE = struct.Struct("!BH").pack, struct.Struct("!BQ").pack


def events(reader: FrameReader) -> Iterator[Event]:
    """What can be read now."""
    while (event := reader.next()) is not None:
        yield event


def read(data: bytes, cuts: list[int], *, inflates: bool = False) -> list[Event]:
    """What is read from a stream that comes cut at these places."""
    reader = FrameReader(LIMIT, inflates=inflates)
    found: list[Event] = []
    for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        reader.feed(data[begin:end])
        found += events(reader)
    assert reader.unread == 0
    return found


@pytest.mark.parametrize("size", [*range(20), 1000, 4099])
def test_the_mask_of_aiohttp(size: int) -> None:
    """All that is relied on: it works in place, on any length, with the mask as bytes."""
    mask, plain = b"\x01\x80\xff\x00", Random(size).randbytes(size)
    data = bytearray(plain)
    websocket_mask(mask, data)
    assert data == bytes(byte ^ mask[at % 4] for at, byte in enumerate(plain))


# Streams that are valid


@dataclass(slots=True)
class Stream:
    """A random stream of valid frames. `expected` is what each frame means."""

    random: Random
    compressed: bool
    data: bytearray = field(default_factory=bytearray)
    expected: list[Event] = field(default_factory=list)
    deflate: Any = field(default_factory=lambda: zlib.compressobj(wbits=-15))

    def add(self) -> None:
        """Add one message, in parts or not, with control frames in between."""
        is_text = self.random.random() < 0.5
        message = self._message(is_text)
        payload = message.encode() if isinstance(message, str) else message
        bits = 0
        if self.compressed and self.random.random() < 0.7:
            bits = DEFLATED
            payload = self.deflate.compress(payload) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
            payload = payload[:-4]
        parts = self.random.choice([1, 1, 1, 2, 5])
        cuts = sorted(self.random.randint(0, len(payload)) for _ in range(parts - 1))
        ends = zip([0, *cuts], [*cuts, len(payload)], strict=True)
        for number, (begin, end) in enumerate(ends):
            self._maybe_control()
            opcode = CONTINUATION if number else TEXT if is_text else BINARY
            final = number == parts - 1
            reserved = 0 if number else bits
            self.data += frame(payload[begin:end], opcode, final=final, reserved=reserved)
            self.expected.append(message if final else Signal.PART)

    def _message(self, is_text: bool) -> str | bytes:
        size = self.random.choice([0, 1, 20, 124, 125, 126, 127, 300, 65_535, 65_536, 70_000])
        if not is_text:
            return self.random.randbytes(size)
        letters = "".join(self.random.choices("abc é€🦄\x00\uffff", k=size // 3))
        return letters if len(letters.encode()) <= LIMIT else letters[: LIMIT // 4]

    def _maybe_control(self) -> None:
        payload = self.random.randbytes(self.random.randint(0, 125))
        kind = self.random.choice([None, None, PING, PONG])
        if kind is not None:
            self.data += frame(payload, kind)
            self.expected.append(Ping(payload) if kind == PING else Signal.PONG)


class Queue(WebSocketDataQueue):
    """The messages, pings and pongs that aiohttp reads."""

    def __init__(self) -> None:
        self.found: list[Event] = []
        super().__init__(None, 2**30, loop=None)  # type: ignore[arg-type]

    def feed_data(self, data: Any, size: int) -> None:
        if data.type is WSMsgType.PING:
            self.found.append(Ping(bytes(data.data)))
        elif data.type is WSMsgType.PONG:
            self.found.append(Signal.PONG)
        else:
            self.found.append(data.data)


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("seed", range(20))
def test_random_streams_cut_anywhere(seed: int, compressed: bool) -> None:
    """aiohttp's reader finds the same messages."""
    random = Random(seed)
    stream = Stream(random, compressed)
    for _ in range(10):
        stream.add()
    data = bytes(stream.data)
    queue = Queue()
    WebSocketReader(queue, LIMIT + 1, compressed, decode_text=True).feed_data(data)
    assert queue.found == [event for event in stream.expected if event is not Signal.PART]
    for number in (0, 1, 10, 1000):
        cuts = sorted(random.randint(0, len(data)) for _ in range(number))
        assert read(data, cuts, inflates=compressed) == stream.expected


def test_a_stream_that_comes_a_byte_at_a_time() -> None:
    data = frame("4é€🦄".encode()) + frame(b"x" * 300, BINARY) + frame(b"p", PING) + close(1000)
    cuts = list(range(1, len(data)))
    assert read(data, cuts) == ["4é€🦄", b"x" * 300, Ping(b"p"), Signal.CLOSE]


def test_each_byte_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However a frame is cut, it takes as much work: none grows with what came before."""
    unmasked = 0

    def count(mask: bytes, data: bytearray) -> None:
        nonlocal unmasked
        unmasked += len(data)
        websocket_mask(mask, data)

    monkeypatch.setattr(module, "unmask", count)
    reader = FrameReader(LIMIT)
    for byte in frame(b"x" * 50_000, final=False) + frame(b"x" * 50_000, CONTINUATION):
        reader.feed(bytes([byte]))
        found = list(events(reader))
        assert reader.unread < 14
    assert found == ["x" * 100_000]
    assert unmasked == 100_000


def test_looking_at_the_next_frame_does_not_read_it() -> None:
    reader = FrameReader(LIMIT)
    assert reader.peek() is None
    reader.feed(frame(b"a") + frame(b"b"))
    assert [reader.peek(), reader.peek(), reader.next(), reader.next()] == ["a", "a", "a", "b"]
    assert reader.peek() is reader.next() is None
    reader.feed(frame(b"c"))
    assert reader.next() == "c"


@pytest.mark.parametrize("size", [LIMIT, LIMIT - 1])
def test_the_largest_message(size: int) -> None:
    assert read(frame(b"x" * size), []) == ["x" * size]
    halves = frame(b"x" * 50_000, final=False) + frame(b"x" * (size - 50_000), CONTINUATION)
    assert read(halves, [])[-1] == "x" * size


# Streams that are not


def deflated(data: bytes, **how: Any) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    payload = (deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]
    return frame(payload, reserved=DEFLATED, **how)


@dataclass(frozen=True, slots=True)
class Wrong:
    """A stream whose last byte is the first wrong one, and its code."""

    name: str
    stream: bytes
    code: int = PROTOCOL
    inflates: bool = False


PART = frame(b"x", final=False)
EMPTY_PART = frame(b"", final=False)
HALF = frame(b"\xe2\x82", final=False)

WRONG = [
    *(Wrong(f"opcode {code}", bytes([0x80 | code])) for code in (3, 4, 5, 6, 7)),
    *(Wrong(f"control opcode {code}", bytes([0x80 | code])) for code in range(11, 16)),
    *(Wrong(f"reserved bits {bits:03b}", bytes([0x81 | bits << 4])) for bits in range(1, 8)),
    *(
        Wrong(f"deflated, reserved bits {bits:03b}", bytes([0x81 | bits << 4]), inflates=True)
        for bits in (1, 2, 3, 5, 6, 7)
    ),
    *(Wrong(f"a control frame with RSV1: {code}", bytes([0xC0 | code]), inflates=True)
      for code in (8, 9, 10)),
    Wrong("a continuation with RSV1", deflated(b"x", final=False) + b"\xc0", inflates=True),
    Wrong("no mask", b"\x81\x05"),
    Wrong("no mask, empty", b"\x81\x00"),
    Wrong("no mask on the second frame", frame(b"x") + b"\x81\x01"),
    Wrong("no mask on a ping", frame(b"x") + b"\x89\x00"),
    *(Wrong(f"control frame {code} in parts", bytes([code])) for code in (8, 9, 10)),
    *(
        Wrong(f"control frame {code} of {size}", bytes([0x80 | code, 0x80 | size]))
        for code in (8, 9, 10)
        for size in (126, 127)
    ),
    Wrong("2 bytes for a length of 125", b"\x81\xfe\x00\x7d"),
    Wrong("2 bytes for a length of 0", b"\x81\xfe\x00\x00"),
    Wrong("8 bytes for a length of 65,535", b"\x81\xff" + bytes(5) + b"\x00"),
    Wrong("8 bytes for a length of 0, continued", PART + b"\x80\xff" + bytes(6)),
    Wrong("a continuation of nothing", b"\x80"),
    Wrong("a continuation of nothing, in parts", b"\x00"),
    Wrong("a continuation of a message that is over", frame(b"x") + b"\x80"),
    *(
        Wrong(f"{kind} inside {name}", part + first)
        for name, part in (("a part", PART), ("an empty part", EMPTY_PART))
        for kind, first in (("text", b"\x81"), ("bytes", b"\x82"), ("a part", b"\x01"))
    ),
    Wrong("text behind two empty parts", EMPTY_PART + frame(b"", 0, final=False) + b"\x81"),
    Wrong("a close of one byte", b"\x88\x81"),
    *(
        Wrong(f"the close code {code}", close(code))
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    ),
    Wrong("a wrong close code with a reason", close(1006, b"x" * 10)[:8]),
    Wrong("a reason that is no UTF-8", close(1000, b"ok\xffok")[:11], INVALID),
    Wrong("a reason that ends in half a letter", close(1000, b"\xe2\x82"), INVALID),
    Wrong("text that is no UTF-8", frame(b"4\xff45")[:8], INVALID),
    Wrong("text of a surrogate", frame(b"4\xed\xa0\x80x")[:9], INVALID),
    Wrong("text beyond Unicode", frame(b"4\xf4\x90\x80\x80")[:9], INVALID),
    Wrong("text of a NUL written long", frame(b"\xc0\x80x")[:7], INVALID),
    Wrong("long text that is no UTF-8", frame(b"x" * 300 + b"\xff" + b"x" * 300)[:309], INVALID),
    Wrong("text that ends in half a letter", frame(b"4\xe2\x82"), INVALID),
    Wrong("a part that is no UTF-8", frame(b"x\xffx", final=False)[:8], INVALID),
    Wrong("a second part that is no UTF-8", HALF + frame(b"xx", CONTINUATION)[:7], INVALID),
    Wrong("a last part that ends in half a letter", PART + frame(b"\xe2", CONTINUATION), INVALID),
    Wrong("a last empty part behind half a letter", HALF + frame(b"", CONTINUATION), INVALID),
    Wrong("a length over the limit", b"\x82\xff" + (LIMIT + 1).to_bytes(8), LARGE),
    Wrong("a length of 4 GB", b"\x82\xff\0\0\0\1", LARGE),
    Wrong("a length of 63 bits", b"\x82\xff\x7f", LARGE),
    Wrong("a length of 64 bits", b"\x82\xff\xff", LARGE),
    Wrong("parts over the limit", frame(b"x" * (LIMIT - 99), BINARY, final=False) + b"\x80\xe4",
          LARGE),
    Wrong("parts over the limit, short", frame(b"x" * LIMIT, BINARY, final=False) + b"\x80\x81",
          LARGE),
    Wrong("a second part whose length is long", frame(b"x" * LIMIT, final=False) + b"\x80\xfe",
          LARGE),
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name.replace(" ", "-"))
def test_a_stream_fails_at_its_first_wrong_byte(wrong: Wrong) -> None:
    reader = FrameReader(LIMIT, inflates=wrong.inflates)
    *before, last = wrong.stream[-400:]
    reader.feed(wrong.stream[:-400])
    list(events(reader))
    for byte in before:
        reader.feed(bytes([byte]))
        list(events(reader))
    reader.feed(bytes([last]))
    with pytest.raises(FrameError) as raised:
        list(events(reader))
    assert raised.value.code == wrong.code


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name.replace(" ", "-"))
def test_a_stream_fails_in_one_read(wrong: Wrong) -> None:
    reader = FrameReader(LIMIT, inflates=wrong.inflates)
    reader.feed(wrong.stream + b"\xff" * 200)
    with pytest.raises(FrameError) as raised:
        list(events(reader))
    assert raised.value.code == wrong.code


# Compression


def test_only_what_a_message_may_hold_is_expanded() -> None:
    bomb = deflated(bytes(100_000_000), opcode=BINARY)
    reader = FrameReader(LIMIT, inflates=True)
    tracemalloc.start()
    try:
        reader.feed(bomb)
        with pytest.raises(FrameError) as raised:
            reader.next()
        assert tracemalloc.get_traced_memory()[1] < 10 * LIMIT
    finally:
        tracemalloc.stop()
    assert raised.value.code == LARGE


@pytest.mark.parametrize(("size", "code"), [(LIMIT, None), (LIMIT + 1, LARGE)])
def test_the_largest_message_that_may_expand(size: int, code: int | None) -> None:
    data = deflated(bytes(size), opcode=BINARY)
    if code is None:
        assert read(data, [10], inflates=True) == [bytes(size)]
        return
    with pytest.raises(FrameError) as raised:
        read(data, [10], inflates=True)
    assert raised.value.code == code


def test_compressed_parts_that_hold_nothing_are_bounded() -> None:
    """Each is an empty block: what counts is what comes, not only what it expands to."""
    empty = b"\x00\x00\x00\xff\xff" * 1000
    data = frame(empty, BINARY, final=False, reserved=DEFLATED)
    data += frame(empty, CONTINUATION, final=False) * 20
    with pytest.raises(FrameError) as raised:
        read(data, [], inflates=True)
    assert raised.value.code == LARGE


def test_compressed_text_is_checked_as_it_comes() -> None:
    reader = FrameReader(LIMIT, inflates=True)
    reader.feed(deflated(b"4\xff" + b"x" * 50, final=False))
    with pytest.raises(FrameError) as raised:
        reader.next()
    assert raised.value.code == INVALID


HELLO_IN_A_FINAL_BLOCK = b"\xf3\x48\xcd\xc9\xc9\x07\x00"
"""https://www.rfc-editor.org/rfc/rfc7692#section-7.2.3.4"""


def test_a_final_block_and_what_follows_it() -> None:
    data = frame(HELLO_IN_A_FINAL_BLOCK + b"\x00", reserved=DEFLATED)
    assert read(data * 2 + deflated(b"more"), [], inflates=True) == ["Hello", "Hello", "more"]


@pytest.mark.parametrize(
    "payload", [b"\x07\xff", HELLO_IN_A_FINAL_BLOCK * 2, HELLO_IN_A_FINAL_BLOCK + b"\x01"]
)
def test_compressed_data_that_is_bad(payload: bytes) -> None:
    with pytest.raises(FrameError) as raised:
        read(frame(payload, reserved=DEFLATED), [], inflates=True)
    assert raised.value.code == INVALID
