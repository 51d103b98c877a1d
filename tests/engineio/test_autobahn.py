"""The cases of the Autobahn test suite, on real connections, and its cases of compression."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator

import pytest

from tests.engineio.autobahn import CASES, NORMAL, Case
from tests.engineio.conftest import LONG
from tests.engineio.echo_server import WEBSOCKET, Server, connected
from tests.hostile.byte_connection import BINARY, CLOSE, TEXT, Line, close, frame

DEFLATED = 4


@pytest.fixture
def pings() -> dict[str, float]:
    return LONG


@pytest.fixture
async def compressing() -> AsyncIterator[Server]:
    async with Server(compression=True, **LONG) as server:
        yield server


async def opened(line: Line) -> str:
    """Read up to the open packet; the head of the answer."""
    head = await line.reader.readuntil(b"\r\n\r\n")
    assert await line.frame() is not None
    return head.decode()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.number)
async def test_a_case(server: Server, case: Case) -> None:
    async with connected(server.port, WEBSOCKET) as (reader, writer):
        line = Line(reader, writer)
        await opened(line)
        size = case.chops or len(case.sent)
        sending = asyncio.create_task(send(line, case.sent, size))
        for answer in case.answers:
            assert await line.frame() == answer
        if case.code == NORMAL:
            await sending
            await line.send(close(NORMAL))
        end = await line.frame()
        assert end == (CLOSE, case.code.to_bytes(2))
        assert await line.frame() is None
        await sending


async def send(line: Line, data: bytes, size: int) -> None:
    """Send in chops of so many bytes, each of which may be read on its own."""
    for at in range(0, len(data), size):
        await line.send(data[at : at + size])
        await asyncio.sleep(0)


# 12 and 13


@pytest.mark.parametrize("part", [0, 256, 1024, 32_768], ids=lambda part: f"parts-{part}")
@pytest.mark.parametrize("size", [16, 64, 256, 1024, 4096, 8192, 131_072])
@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate",
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; server_max_window_bits=9",
        "permessage-deflate; server_max_window_bits=9; server_no_context_takeover",
        "permessage-deflate; client_max_window_bits",
    ],
)
async def test_compressed_messages(compressing: Server, offer: str, size: int, part: int) -> None:
    text = ("4" + "Habe nun, ach! Philosophie, Juristerei und Medizin. äöü " * 3000)[: size // 2]
    request = WEBSOCKET.replace("\n\n", f"\nSec-WebSocket-Extensions: {offer}\n\n")
    deflate, inflate = zlib.compressobj(wbits=-15), zlib.decompressobj(wbits=-15)
    async with connected(compressing.port, request) as (reader, writer):
        line = Line(reader, writer)
        assert "\r\nSec-WebSocket-Extensions: permessage-deflate" in await opened(line)
        for _ in range(5):  # each refers to those before it
            payload = deflate.compress(text.encode()) + deflate.flush(zlib.Z_SYNC_FLUSH)
            await line.send(compressed(payload[:-4], part))
            found = await read_message(line, inflate)
            assert found.decode() == text
        await line.send(close(NORMAL))
        assert await line.close_code() == NORMAL


def compressed(payload: bytes, part: int, opcode: int = TEXT) -> bytes:
    size = part or len(payload)
    return b"".join(
        frame(
            payload[at : at + size],
            0 if at else opcode,
            final=at + size >= len(payload),
            reserved=0 if at else DEFLATED,
        )
        for at in range(0, len(payload), size)
    )


async def read_message(line: Line, inflate: zlib._Decompress) -> bytes:
    """The payload of the next frame, compressed or not."""
    first, size = await line.reader.readexactly(2)
    if size >= 126:
        size = int.from_bytes(await line.reader.readexactly(2 if size == 126 else 8))
    payload = await line.reader.readexactly(size)
    return inflate.decompress(payload + b"\x00\x00\xff\xff") if first & 0x40 else payload


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (compressed(zlib.compress(bytes(50_000_000), wbits=-15), 0, BINARY), 1009),
        (compressed(b"\x07\xff", 0), 1007),
        (frame(b"", 9, reserved=DEFLATED), 1002),
        (frame(b"4", final=False) + frame(b"x", 0, reserved=DEFLATED), 1002),
    ],
    ids=["a bomb", "bad data", "a compressed ping", "a second part that says so"],
)
async def test_bad_compression(compressing: Server, bad: bytes, code: int) -> None:
    request = WEBSOCKET.replace("\n\n", "\nSec-WebSocket-Extensions: permessage-deflate\n\n")
    async with connected(compressing.port, request) as (reader, writer):
        line = Line(reader, writer)
        await opened(line)
        await line.send(bad)
        assert await line.close_code() == code


# Turns


@pytest.mark.parametrize("kind", ["pong", "ping", "part"])
async def test_a_flood_of_frames_lets_others_have_their_turn(server: Server, kind: str) -> None:
    """What is sent first is 64 KB in one segment, and yet the other client is heard first."""
    flood = {
        "pong": frame(b"", 10) * 9000,
        "ping": frame(b"", 9) * 9000,
        "part": frame(b"4", final=False) + frame(b"", 0, final=False) * 9000 + frame(b"", 0),
    }[kind]
    async with (
        connected(server.port, WEBSOCKET) as (first_reader, first),
        connected(server.port, WEBSOCKET) as (second_reader, second),
    ):
        await first_reader.readuntil(b"}")
        await second_reader.readuntil(b"}")
        first.write(flood + frame(b"4end"))
        second.write(frame(b"4hello"))
        await server.news.until(lambda: "end" in server.received)
    assert server.received == ["hello", *[""] * (kind == "part"), "end"]
