"""RFC 6455 byte by byte: how the frames of clients may come, and what the server's look like."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.engineio.conftest import LONG
from tests.engineio.echo_server import WEBSOCKET, Server, connected

CONTINUED, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x12\x34\x56\x78"


@pytest.fixture
def pings() -> dict[str, float]:
    return LONG


def length(number: int, mask: int) -> bytes:
    """In its shortest form, the only one there may be."""
    if number < 126:
        return bytes([mask | number])
    if number < 2**16:
        return bytes([mask | 126]) + number.to_bytes(2)
    return bytes([mask | 127]) + number.to_bytes(8)


def masked(opcode: int, data: bytes, *, final: bool = True) -> bytes:
    """A client's frame."""
    payload = bytes(byte ^ MASK[index % 4] for index, byte in enumerate(data))
    return bytes([final << 7 | opcode]) + length(len(data), 0x80) + MASK + payload


@dataclass(frozen=True, slots=True)
class Socket:
    """A WebSocket by hand; what the server sends is `(first byte, payload)`."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, *frames: bytes) -> None:
        """In one segment."""
        self.writer.write(b"".join(frames))

    async def flood(self) -> None:
        """Send for as long as the server lets it."""
        while True:
            self.send(b"x" * 65_536)
            await self.writer.drain()

    async def receive(self) -> tuple[int, bytes]:
        first, size = await self.reader.readexactly(2)
        extended = {126: 2, 127: 8}.get(size, 0)
        head = await self.reader.readexactly(extended)
        number = int.from_bytes(head) if extended else size
        assert bytes([size]) + head == length(number, 0), "the shortest form, not masked"
        return first, await self.reader.readexactly(number)

    async def closed(self) -> int | None:
        """The code of the server's CLOSE, after which there is nothing more."""
        first, payload = await self.receive()
        assert first == 0x80 | CLOSE
        self.send(masked(CLOSE, payload))
        assert await self.reader.read() == b""
        return int.from_bytes(payload[:2]) if payload else None


@pytest.fixture
async def socket(server: Server) -> AsyncIterator[Socket]:
    """That of a session which has had its open packet."""
    async with connected(server.port, WEBSOCKET) as (reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        socket = Socket(reader, writer)
        assert (await socket.receive())[1].startswith(b"0{")
        yield socket


def sid(server: Server) -> str:
    """The id of the one session there is."""
    (sid,) = server.engine.sessions
    return sid


@pytest.mark.parametrize("size", [0, 1, 124, 125, 126, 2**12, 2**16 - 1, 2**16, 999_999])
async def test_frames_of_every_length(socket: Socket, size: int) -> None:
    socket.send(masked(BINARY, b"x" * size), masked(TEXT, b"4" + b"x" * size))
    assert await socket.receive() == (0x80 | BINARY, b"x" * size)
    assert await socket.receive() == (0x80 | TEXT, b"4" + b"x" * size)


async def test_many_frames_in_one_segment_are_answered_in_order(socket: Socket) -> None:
    sizes = [*range(300), 5000, *range(300), 100_000, 3]
    socket.send(*(masked(BINARY, b"x" * size) for size in sizes))
    assert [len((await socket.receive())[1]) for _ in sizes] == sizes


async def test_frames_that_come_a_byte_at_a_time(socket: Socket) -> None:
    for byte in masked(TEXT, "4é€🦄".encode()) + masked(BINARY, b"\x01\x02"):
        socket.send(bytes([byte]))
        await asyncio.sleep(0)
    assert await socket.receive() == (0x80 | TEXT, "4é€🦄".encode())
    assert await socket.receive() == (0x80 | BINARY, b"\x01\x02")


@pytest.mark.parametrize(("opcode", "data"), [(TEXT, "4é€🦄".encode()), (BINARY, b"\xff" * 10)])
async def test_messages_in_fragments_with_pings_between(
    server: Server, socket: Socket, opcode: int, data: bytes
) -> None:
    first, *middle, last = (bytes([byte]) for byte in data)
    socket.send(masked(opcode, first, final=False))
    for part in middle:
        socket.send(masked(PING, part), masked(CONTINUED, part, final=False))
    socket.send(masked(CONTINUED, last))
    answers = [await socket.receive() for _ in range(len(middle) + 1)]
    assert sorted(answers) == sorted(
        [(0x80 | opcode, data), *((0x80 | PONG, part) for part in middle)]
    )
    assert len(server.received) == 1


async def test_a_pong_that_nobody_asked_for_is_no_violation(socket: Socket) -> None:
    socket.send(masked(PONG, b"x"), masked(TEXT, b"4hello"))
    assert await socket.receive() == (0x80 | TEXT, b"4hello")


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xe9going away"])
async def test_close_is_answered(server: Server, socket: Socket, payload: bytes) -> None:
    session = sid(server)
    socket.send(masked(TEXT, b"4last"), masked(CLOSE, payload))
    assert await socket.receive() == (0x80 | TEXT, b"4last")
    assert (await socket.receive())[0] == 0x80 | CLOSE
    assert await socket.reader.read() == b""
    assert await server.reason(session) == "transport close"
    assert server.received == ["last"]


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (masked(TEXT, b"4\xff"), 1007),
        (masked(TEXT, b"4\xed\xa0\x80"), 1007),
        (masked(TEXT, b"4\xc3", final=False) + masked(CONTINUED, b"x"), 1007),
        (masked(3, b"4x"), 1002),
        (masked(11, b""), 1002),
        (masked(0x40 | TEXT, b"4x"), 1002),
        (masked(0x20 | TEXT, b"4x"), 1002),
        (masked(PING, b"x" * 126), 1002),
        (masked(PING, b"x", final=False), 1002),
        (masked(CONTINUED, b"x"), 1002),
        (masked(TEXT, b"4", final=False) + masked(TEXT, b"4x"), 1002),
        (masked(CLOSE, b"\x03"), 1002),
        (masked(CLOSE, b"\x00\x01"), 1002),
        (masked(TEXT, b"4" + b"x" * 999_999, final=False) + masked(CONTINUED, b"x"), 1009),
        (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", 1009),
    ],
)
async def test_what_no_client_may_send_closes_the_session(
    server: Server, socket: Socket, frames: bytes, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    session = sid(server)
    socket.send(frames)
    assert await socket.closed() == code
    assert await server.reason(session) == "transport error"
    assert server.received == []
    assert "ERROR" not in {record.levelname for record in caplog.records}


async def test_a_client_that_is_still_sending_gets_the_close_frame(socket: Socket) -> None:
    socket.send(masked(TEXT, b"4" + b"x" * 1_000_000), b"x" * 8_000_000)
    assert await socket.closed() == 1009


async def test_a_client_that_never_stops_sending_is_cut_off(socket: Socket) -> None:
    socket.send(masked(3, b"4x"))
    assert await socket.closed() == 1002
    with pytest.raises(ConnectionError):
        await socket.flood()
