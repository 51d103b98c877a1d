"""Polls and POSTs, byte for byte: however TCP has cut a request, it is answered the same."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from gateway.engineio.frames import Frames
from gateway.engineio.packet import Message
from gateway.engineio.receiver import Reason
from gateway.engineio.session import Session
from tests.deadline import DEADLINE, deadline
from tests.engineio.echo import Hooks, echo_engine, serving

PATH = "/engine.io/?EIO=4&transport=polling"


class Line:
    """One connection of a client, byte for byte. `sid` is put into what is asked."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.sid = ""

    async def open(self) -> None:
        self.ask("GET")
        found = re.search(r'"sid":"([^"]+)"', await self.answer())
        assert found is not None
        self.sid = found[1]

    def ask(self, method: str, body: str | None = None, headers: str = "") -> None:
        self._writer.write(self.request(method, body, headers))

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def request(self, method: str, body: str | None = None, headers: str = "") -> bytes:
        length = "" if body is None else f"Content-Length: {len(body.encode())}\r\n"
        sid = f"&sid={self.sid}" if self.sid else ""
        head = f"{method} {PATH}{sid} HTTP/1.1\r\nHost: h\r\n{length}{headers}\r\n"
        return (head + (body or "")).encode()

    async def answer(self) -> str:
        """The next answer, without its date."""
        async with deadline():
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            found = re.search(r"Content-Length: (\d+)", head)
            body = await self._reader.readexactly(int(found[1]) if found else 0)
        return re.sub(r"Date: .*\r\n", "", head) + body.decode()

    def close(self) -> None:
        self._writer.close()


class Served:
    """An engine that echoes, at `port`."""

    def __init__(self, **options: Any) -> None:
        self.reasons: asyncio.Queue[Reason] = asyncio.Queue()
        self.hooks = Hooks(disconnect=lambda session, reason: self.reasons.put_nowait(reason))
        self.engine = echo_engine(self.hooks, **options)
        self.http = self.engine.http_server("/engine.io/")
        self.port = 0
        self._lines: list[Line] = []

    async def line(self, sid: str = "") -> Line:
        line = Line(*await asyncio.open_connection("127.0.0.1", self.port))
        line.sid = sid
        self._lines.append(line)
        return line

    def is_polled(self, sid: str) -> bool:
        """True if a session has a poll that waits."""
        polling = self.engine.sessions[sid].polling
        return polling is not None and polling.is_ready

    async def reason(self) -> Reason:
        return await asyncio.wait_for(self.reasons.get(), DEADLINE)


Serve = Callable[..., AbstractAsyncContextManager[Served]]


@asynccontextmanager
async def serve(**options: Any) -> AsyncIterator[Served]:
    served = Served(**options)
    async with serving(served.http) as served.port:
        try:
            yield served
        finally:
            for line in served._lines:
                line.close()
            await served.engine.shutdown()


ORIGIN = "Origin: http://{}\r\n"
CALLS: dict[str, list[tuple[str, str | None, str]]] = {
    "echo": [("POST", "4€\x1ebAAE=", ""), ("GET", None, "")],
    "own origin": [("POST", "4a", ORIGIN.format("h")), ("GET", None, ORIGIN.format("h"))],
    "other origin": [("POST", "4a", ORIGIN.format("x")), ("GET", None, ORIGIN.format("x"))],
    "no packet": [("POST", "9", ""), ("GET", None, "")],
    "no base64": [("POST", "4a\x1eb!", ""), ("GET", None, "")],
    "too large": [("POST", "4" + "a" * 200, "")],
    "close": [("POST", "4a\x1e1", ""), ("GET", None, "")],
    "other method": [("PUT", "4a", ""), ("OPTIONS", None, "")],
    "other method between": [("POST", "4a", ""), ("PUT", "4a", ""), ("GET", None, "")],
}


Cut = Callable[[bytes], list[bytes]]


def whole(request: bytes) -> list[bytes]:
    return [request]


def behind_its_head(request: bytes) -> list[bytes]:
    head, body = request.split(b"\r\n\r\n", 1)
    return [each for each in (head + b"\r\n\r\n", body) if each]


def byte_by_byte(request: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in request]


def in_chunks(request: bytes) -> list[bytes]:
    """A body of chunks, each in a segment of its own."""
    head, body = request.split(b"\r\n\r\n", 1)
    if b"Content-Length" not in head:
        return [request]
    head = re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: chunked", head)
    parts = [b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:1], body[1:]) if part]
    return [head + b"\r\n\r\n", *parts, b"0\r\nA-Trailer: x\r\n\r\n"]


@pytest.mark.parametrize("cut", [behind_its_head, byte_by_byte, in_chunks])
@pytest.mark.parametrize("calls", CALLS.values(), ids=CALLS)
async def test_answers_are_the_same_however_a_request_is_cut(
    calls: list[tuple[str, str | None, str]], cut: Cut
) -> None:
    answers: list[list[str]] = []
    for each in (whole, cut):
        async with serve(max_payload=100) as served:
            line = await served.line()
            await line.open()
            answers.append([])
            for call in calls:
                for segment in each(line.request(*call)):
                    line.write(segment)
                    await asyncio.sleep(0)
                answers[-1].append(await line.answer())
    assert answers[0] == answers[1]


async def test_a_poll_waits_and_takes_all_that_is_sent_in_one_turn() -> None:
    async with serve() as served:
        line = await served.line()
        await line.open()
        other = await served.line(line.sid)
        line.ask("GET")
        other.ask("POST", "4a\x1e4b\x1e4c")
        assert (await line.answer()).endswith("4a\x1e4b\x1e4c")


async def test_requests_behind_a_poll_wait_for_their_turn() -> None:
    async with serve() as served:
        line = await served.line()
        await line.open()
        other = await served.line(line.sid)
        other.ask("GET")
        await _until(lambda: served.is_polled(line.sid))
        other.write(other.request("POST", "4b") + other.request("GET"))
        line.ask("POST", "4a")
        assert (await line.answer()).endswith("ok")
        assert (await other.answer()).endswith("4a")
        assert (await other.answer()).endswith("ok")
        assert (await other.answer()).endswith("4b")


async def test_a_second_poll_is_refused_and_ends_the_session() -> None:
    async with serve() as served:
        line = await served.line()
        await line.open()
        first, second = await served.line(line.sid), await served.line(line.sid)
        first.ask("GET")
        await _until(lambda: served.is_polled(line.sid))
        second.ask("GET")
        assert "400 Bad Request" in await second.answer()
        assert (await first.answer()).endswith("\r\n1")
        assert await served.reason() == "transport error"


async def test_a_client_that_goes_away_while_it_polls_ends_its_session() -> None:
    async with serve() as served:
        line = await served.line()
        await line.open()
        other = await served.line(line.sid)
        other.ask("GET")
        await _until(lambda: served.is_polled(line.sid))
        other.close()
        assert await served.reason() == "transport error"
        assert served.engine.sessions == {}


async def test_what_a_message_waits_for_holds_its_answer_and_the_next_message() -> None:
    async with serve() as served:
        log: list[str] = []
        go_on = asyncio.Event()

        async def wait(message: Message) -> None:
            log.append(f"{message!s} begins")
            await go_on.wait()
            log.append(f"{message!s} ends")

        def take(session: Session, message: Message) -> Awaitable[None]:
            return wait(message)

        served.hooks.message = take
        line = await served.line()
        await line.open()
        other = await served.line(line.sid)
        other.ask("POST", "4a\x1e4b")
        await _until(lambda: bool(log))
        assert log == ["a begins"]
        go_on.set()
        assert (await other.answer()).endswith("ok")
        assert log == ["a begins", "a ends", "b begins", "b ends"]


async def test_a_client_that_goes_away_cuts_short_what_its_message_waits_for() -> None:
    async with serve() as served:
        begun: list[Message] = []

        async def wait(message: Message) -> None:
            begun.append(message)
            await asyncio.Event().wait()

        served.hooks.message = lambda session, message: wait(message)
        line = await served.line()
        await line.open()
        other = await served.line(line.sid)
        other.ask("POST", "4a")
        await _until(lambda: bool(begun))
        other.close()
        assert await served.reason() == "transport error"


async def test_what_a_client_does_not_read_is_not_answered_further() -> None:
    async with serve(max_payload=20_000_000) as served:
        line = await served.line()
        await line.open()
        other = await served.line(line.sid)
        session = served.engine.sessions[line.sid]
        session.send_many(Frames(["x" * 16_000_000]))
        other.ask("GET")
        await _until(lambda: session.polling is not None and session.polling._answering is not None)
        session.send_many(Frames(["y"]))
        assert (await other.answer()).endswith("x")
        other.ask("GET")
        assert (await other.answer()).endswith("4y")


async def test_shutdown_answers_the_polls_that_wait() -> None:
    async with serve() as served:
        line = await served.line()
        await line.open()
        other = await served.line(line.sid)
        other.ask("GET")
        await _until(lambda: served.is_polled(line.sid))
        await served.engine.shutdown()
        assert (await other.answer()).endswith("\r\n1")


async def test_poll_may_wait_for_longer_than_a_connection_may_be_idle() -> None:
    async with serve(keepalive_timeout=0.05, ping_interval=0.3) as served:
        line = await served.line()
        await line.open()
        line.ask("GET")
        assert (await line.answer()).endswith("\r\n\r\n2")


async def test_of_many_that_leave_at_once_few_are_seen_off_in_one_turn() -> None:
    async with serve() as served:
        lines = [await served.line() for _ in range(300)]
        for line in lines:
            await line.open()
            line.ask("GET")
        sessions = served.engine.sessions
        await _until(lambda: all(map(served.is_polled, sessions)))
        for line in lines:
            line.close()
        left: list[int] = []
        while sessions:
            before = len(sessions)
            await asyncio.sleep(0)
            left.append(before - len(sessions))
        assert max(left) <= 64
        assert served.reasons.qsize() == 300


async def _until(fact: Callable[[], bool]) -> None:
    async with deadline():
        while not fact():  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0)
