"""What the inbox relies on in the installed aiohttp, and what it promises."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import WebSocketError
from aiohttp.http_websocket import WebSocketReader

from gateway.engineio.websocket import Inbox, ReadSwitch
from tests.hostile.byte_connection import BINARY, CLOSE, PING, close, frame

WAIT = "wait"


class Recipient:
    """Keeps all it is told of; a message that says `wait` is waited for."""

    def __init__(self) -> None:
        self.is_paused = False
        self.log: list[object] = []
        switch = ReadSwitch(self)  # type: ignore[arg-type]
        self.inbox = Inbox(self, switch, asyncio.get_running_loop())
        self._reader = WebSocketReader(self.inbox, 2**20, compress=False, decode_text=True)

    def send(self, *frames: bytes) -> None:
        """Let these come in one read."""
        self._reader.feed_data(b"".join(frames))

    def done(self) -> None:
        """What was waited for is done."""
        self.inbox.busy = False
        self.inbox.go_on()

    def deliver(self, message: str | bytes) -> bool:
        self.log.append(message)
        return message == WAIT

    def pinged(self, data: bytes) -> None:
        self.log.append(("ping", bytes(data)))

    def closed(self) -> None:
        self.log.append("closed")

    def failed(self, error: Exception) -> None:
        assert isinstance(error, WebSocketError)
        assert error.__traceback__ is None
        self.log.append(error.code)

    def pause_reading(self) -> None:
        assert not self.is_paused
        self.is_paused = True

    def resume_reading(self) -> None:
        assert self.is_paused
        self.is_paused = False


@pytest.fixture
async def recipient() -> Recipient:
    return Recipient()


def text(message: str) -> bytes:
    return frame(message.encode())


async def test_everything_is_taken_in_the_call_that_read_it(recipient: Recipient) -> None:
    recipient.send(text("a"), frame(b"b", BINARY), frame(b"c", PING), close(1000))
    assert recipient.log == ["a", b"b", ("ping", b"c"), "closed"]


async def test_what_comes_behind_a_message_waits_for_it(recipient: Recipient) -> None:
    recipient.send(text(WAIT), text("a"), frame(b"b", PING))
    recipient.send(text(WAIT), text("c"), close(1000))
    assert recipient.log == [WAIT]
    recipient.done()
    assert recipient.log == [WAIT, "a", ("ping", b"b"), WAIT]
    recipient.done()
    assert recipient.log[4:] == ["c", "closed"]
    recipient.send(text("d"))
    assert recipient.log[-1] == "d"


async def test_messages_to_a_client_that_does_not_read_wait(recipient: Recipient) -> None:
    recipient.inbox.unread = True
    recipient.send(text("a"), frame(b"b", PING))
    assert recipient.log == []
    recipient.inbox.unread = False
    recipient.inbox.go_on()
    assert recipient.log == ["a", ("ping", b"b")]


@pytest.mark.parametrize(
    ("end", "told"), [(frame(b"", CLOSE), "closed"), (frame(b"", 11), 1002)], ids=["close", "bad"]
)
async def test_the_end_of_a_client_that_does_not_read_is_heard(
    recipient: Recipient, end: bytes, told: object
) -> None:
    recipient.inbox.unread = True
    recipient.send(end)
    assert recipient.log == [told]


@pytest.mark.parametrize("message", ["a", WAIT])
async def test_what_cannot_be_read_is_told_after_all_before_it(
    recipient: Recipient, message: str
) -> None:
    recipient.send(text(WAIT), text(message), frame(b"", 11), text("behind"))
    recipient.done()
    if message == WAIT:
        assert recipient.log == [WAIT, WAIT]
        recipient.done()
    assert recipient.log == [WAIT, message, 1002]
    recipient.inbox.go_on()
    assert recipient.log == [WAIT, message, 1002]


async def test_the_queue_is_bounded_and_loses_nothing(recipient: Recipient) -> None:
    """aiohttp stops reading, and taking apart what it has read, at twice 64 KiB."""
    numbers = [f"{number}{'x' * 1000}" for number in range(500)]
    recipient.send(text(WAIT), *map(text, numbers))
    assert recipient.is_paused
    assert recipient.inbox._size < 140_000
    recipient.done()
    assert recipient.log == [WAIT, *numbers]
    assert not recipient.is_paused


async def test_what_is_queued_when_the_connection_ends_is_dropped(recipient: Recipient) -> None:
    recipient.send(text(WAIT), text("a"))
    recipient.inbox.drop()
    recipient.done()
    recipient.send(text("b"), frame(b"", 11))
    assert recipient.log == [WAIT]
