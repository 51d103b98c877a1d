"""The frames of a WebSocket: what waits for what, what a turn handles, and what is charged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from itertools import accumulate
from random import Random
from typing import cast

import pytest

from gateway.engineio.inbox import Inbox
from gateway.engineio.packet import Packet, PacketError
from gateway.engineio.reader import FrameError, FrameReader
from gateway.engineio.session import Session
from tests.deadline import until
from tests.hostile.byte_connection import BINARY, CLOSE, PING, close, frame

WAIT, BAD = "wait", "bad"
CONTINUATION, PONG = 0, 10


class Carrier:
    """A carrier, its session and its transport: keeps all it is told of.

    A message that says `wait` is waited for until `done`, one that says `bad` is none. With
    `throttles`, what is charged is waited for as well.
    """

    def __init__(self) -> None:
        self.is_paused = self.throttles = False
        self.log: list[object] = []
        self.charged: list[int] = []
        self.waiting: asyncio.Future[None] | None = None
        self.inbox = Inbox(
            self,  # type: ignore[arg-type]
            cast("Session", self),
            cast("asyncio.Transport", self),
            FrameReader(2**20),
        )

    def send(self, *frames: bytes) -> None:
        """Let these come in one read."""
        assert not self.is_paused
        self.inbox.feed(b"".join(frames))

    async def done(self) -> None:
        """End the wait for what is waited for."""
        assert self.waiting is not None
        self.waiting.set_result(None)
        await asyncio.sleep(0)

    def _wait(self) -> Awaitable[None]:
        self.waiting = asyncio.get_running_loop().create_future()
        return self.waiting

    # As a session

    def receive_on(self, _: object, packet: Packet) -> Awaitable[None] | None:
        if packet == BAD:
            raise PacketError(packet)
        self.log.append(packet)
        return self._wait() if packet == WAIT else None

    def charge(self, packets: int) -> Awaitable[None] | None:
        self.charged.append(packets)
        return self._wait() if self.throttles else None

    def count_violation(self, kind: str, why: object) -> None:
        self.log.append((kind, str(why)))

    def lost(self, _: object, reason: str) -> None:
        self.log.append(reason)

    # As a carrier

    def pinged(self, payload: bytes) -> None:
        self.log.append(("ping", payload))

    def closed(self) -> None:
        self.log.append("closed")

    def failed(self, error: FrameError) -> None:
        self.log.append(int(error.code))

    def go_on(self) -> None:
        self.inbox.read()

    # As a transport

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        assert not self.is_paused
        self.is_paused = True

    def resume_reading(self) -> None:
        assert self.is_paused
        self.is_paused = False


@pytest.fixture
async def carrier() -> Carrier:
    return Carrier()


def text(message: str) -> bytes:
    return frame(message.encode())


async def test_everything_is_taken_in_the_call_that_read_it(carrier: Carrier) -> None:
    carrier.send(text("a"), frame(b"b", BINARY), frame(b"c", PING), close(1000))
    assert carrier.log == ["a", b"b", ("ping", b"c"), "closed"]


@pytest.mark.parametrize("seed", range(20))
async def test_each_message_is_taken_once(carrier: Carrier, seed: int) -> None:
    """However a stream is cut: each way of reading a frame leaves off where the next begins."""
    random = Random(seed)
    sent: list[str | bytes] = []
    for _ in range(30):
        size = random.choice([0, 1, 20, 124, 125, 126, 127, 300, 5_000, 70_000])
        sent.append(random.randbytes(size) if random.random() < 0.5 else "x" * size)
    frames = [text(each) if isinstance(each, str) else frame(each, BINARY) for each in sent]
    data = b"".join(frames)
    ends = list(accumulate(map(len, frames)))
    anywhere = [random.randint(0, len(data)) for _ in range(seed // 2)]
    cuts = sorted(random.sample(ends, 10) + anywhere)  # most reads end with a frame
    for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        carrier.send(data[begin:end])
        await until(lambda: not carrier.is_paused)
    assert carrier.log == sent


async def test_what_comes_behind_a_message_waits_for_it(carrier: Carrier) -> None:
    carrier.send(text(WAIT), text("a"), frame(b"b", PING))
    carrier.send(text(WAIT), text("c"), close(1000))
    assert carrier.log == [WAIT]
    await carrier.done()
    assert carrier.log == [WAIT, "a", ("ping", b"b"), WAIT]
    await carrier.done()
    assert carrier.log[4:] == ["c", "closed"]


@pytest.mark.parametrize("end", [close(1000), frame(b"", 11)], ids=["close", "bad"])
async def test_nothing_behind_the_end_is_heard(carrier: Carrier, end: bytes) -> None:
    carrier.send(end, text("a"))
    carrier.send(text("b"))
    assert len(carrier.log) == 1


async def test_messages_to_a_client_that_does_not_read_wait(carrier: Carrier) -> None:
    carrier.inbox.is_unread = True
    carrier.send(text("a"), frame(b"b", PING), close(1000))
    assert carrier.log == []
    carrier.inbox.is_unread = False
    carrier.inbox.read()
    assert carrier.log == ["a", ("ping", b"b"), "closed"]


async def test_messages_wait_from_the_one_whose_answer_is_not_read(carrier: Carrier) -> None:
    def stop_reading(_: object, packet: Packet) -> None:
        carrier.log.append(packet)
        carrier.inbox.is_unread = True

    carrier.receive_on = stop_reading  # type: ignore[assignment]
    carrier.send(text("a"), text("b"))
    assert carrier.log == ["a"]
    carrier.inbox.is_unread = False
    carrier.inbox.read()
    assert carrier.log == ["a", "b"]


@pytest.mark.parametrize(
    ("end", "told"), [(frame(b"", CLOSE), "closed"), (frame(b"", 11), 1002)], ids=["close", "bad"]
)
async def test_the_end_of_a_client_that_does_not_read_is_heard(
    carrier: Carrier, end: bytes, told: object
) -> None:
    carrier.inbox.is_unread = True
    carrier.send(end)
    assert carrier.log == [told]


@pytest.mark.parametrize("message", ["a", WAIT])
async def test_what_cannot_be_read_is_told_after_all_before_it(
    carrier: Carrier, message: str
) -> None:
    carrier.send(text(WAIT), text(message), frame(b"", 11), text("behind"))
    await carrier.done()
    if message == WAIT:
        assert carrier.log == [WAIT, WAIT]
        await carrier.done()
    assert carrier.log == [WAIT, message, 1002]


async def test_a_packet_that_is_none_ends_the_session_and_the_close_is_still_heard(
    carrier: Carrier,
) -> None:
    carrier.send(text(BAD), close(1000))
    assert carrier.log == [("engine_packet", BAD), "parse error"]
    await asyncio.sleep(0)
    assert carrier.log[2:] == ["closed"]


async def test_what_waits_is_bounded_and_nothing_is_lost(carrier: Carrier) -> None:
    """The connection is not read with more than 64 KiB waiting."""
    numbers = [f"{number}{'x' * 1000}" for number in range(200)]
    carrier.send(text(WAIT))
    rest = list(numbers)
    while not carrier.is_paused:
        carrier.send(text(rest.pop(0)))
    assert len(rest) == 200 - 65
    await carrier.done()
    await turns(carrier)
    carrier.send(*map(text, rest[:60]))
    carrier.send(*map(text, rest[60:120]))
    carrier.send(*map(text, rest[120:]))
    assert carrier.log == [WAIT, *numbers]


async def test_what_waits_when_the_connection_ends_is_dropped(carrier: Carrier) -> None:
    carrier.send(text(WAIT), text("a"))
    carrier.inbox.end(cancel=False)
    await carrier.done()
    carrier.send(text("b"), frame(b"", 11))
    assert carrier.log == [WAIT]


# Turns


async def turns(carrier: Carrier) -> list[int]:
    """How many entries the log has after each turn of the loop, while the carrier is paused."""
    counts = [len(carrier.log)]
    while carrier.is_paused and "closed" not in carrier.log:
        await asyncio.sleep(0)
        counts.append(len(carrier.log))
    return counts


@pytest.mark.parametrize("kind", [PING, BINARY])
async def test_a_turn_handles_256_frames(carrier: Carrier, kind: int) -> None:
    carrier.send(*(frame(b"x", kind) for _ in range(700)))
    assert await turns(carrier) == [256, 512, 700]
    carrier.send(frame(b"y", BINARY))
    assert carrier.log[-1] == b"y"


@pytest.mark.parametrize(
    "unseen", [frame(b"", PONG), frame(b"", CONTINUATION, final=False)], ids=["pong", "part"]
)
async def test_frames_that_say_nothing_count_as_well(carrier: Carrier, unseen: bytes) -> None:
    carrier.send(frame(b"a", BINARY, final=False), unseen * 299, frame(b"b", CONTINUATION))
    assert carrier.log == []
    assert carrier.is_paused
    assert await turns(carrier) == [0, 1]
    assert carrier.log == [b"ab"]


async def test_a_turn_handles_64_kib(carrier: Carrier) -> None:
    carrier.send(*(frame(b"x" * 10_000, BINARY) for _ in range(20)))
    assert await turns(carrier) == [8, 15, 20]


async def test_a_turn_ends_with_a_message_of_64_kib(carrier: Carrier) -> None:
    """There is nothing behind it, but uvloop would read on."""
    carrier.send(frame(b"x" * 2**16, BINARY))
    assert await turns(carrier) == [1, 1]


async def test_a_close_is_heard_in_its_turn(carrier: Carrier) -> None:
    carrier.send(frame(b"x", PING) * 300, close(1000))
    assert await turns(carrier) == [256, 301]
    assert carrier.log[-1] == "closed"


async def test_no_turn_comes_after_the_end(carrier: Carrier) -> None:
    carrier.send(frame(b"x", PING) * 300)
    carrier.inbox.end(cancel=True)
    await asyncio.sleep(0)
    assert len(carrier.log) == 256


# Charges


async def test_frames_that_are_no_messages_are_charged_once_a_turn(carrier: Carrier) -> None:
    parts = [frame(b"a", final=False), *[frame(b"", CONTINUATION, final=False)] * 2]
    carrier.send(text("a"), frame(b"", PING), frame(b"", PONG), *parts, frame(b"", CONTINUATION))
    assert carrier.charged == [5]
    carrier.send(text("a"), frame(b"b", BINARY))
    assert carrier.charged == [5]
    carrier.send(frame(b"", PING) * 300)
    assert carrier.charged == [5, 256]
    await turns(carrier)
    assert carrier.charged == [5, 256, 44]


async def test_the_next_message_waits_for_what_is_charged(carrier: Carrier) -> None:
    carrier.throttles = True
    carrier.send(frame(b"p", PING))
    carrier.send(text("a"))
    assert carrier.log == [("ping", b"p")]
    await carrier.done()
    assert carrier.log == [("ping", b"p"), "a"]
    assert carrier.charged == [1]


async def test_frames_before_a_message_that_waits_are_charged_after_it(carrier: Carrier) -> None:
    carrier.send(frame(b"", PING), text(WAIT))
    assert carrier.charged == []
    await carrier.done()
    assert carrier.charged == [1]


async def test_a_flood_that_is_charged_for_goes_on_when_it_may(carrier: Carrier) -> None:
    carrier.throttles = True
    carrier.send(frame(b"", PING) * 300)
    await asyncio.sleep(0)
    assert len(carrier.log) == 256
    await carrier.done()
    assert len(carrier.log) == 300
