"""Polls answered in the call that read them: the same answers as by way of aiohttp's requests."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from gateway.engineio.session import Reason
from gateway.engineio.connection import Runner
from gateway.engineio.packet import Message
from gateway.engineio.session import Session
from tests.engineio.echo import Hooks, echo_app, echo_engine

LIMIT = 5.0
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
        async with asyncio.timeout(LIMIT):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            found = re.search(r"Content-Length: (\d+)", head)
            body = await self._reader.readexactly(int(found[1]) if found else 0)
        return re.sub(r"Date: .*\r\n", "", head) + body.decode()

    def close(self) -> None:
        self._writer.close()


class Served:
    """An engine that echoes, behind a runner of some kind."""

    def __init__(
        self, kind: type[web.AppRunner], keepalive_timeout: float = 60.0, **options: Any
    ) -> None:
        self.reasons: asyncio.Queue[Reason] = asyncio.Queue()
        self.hooks = Hooks(disconnect=lambda session, reason: self.reasons.put_nowait(reason))
        self.engine = echo_engine(self.hooks, **options)
        app = echo_app(self.engine)
        self.runner = kind(
            app,
            handler_cancellation=True,
            shutdown_timeout=LIMIT,
            keepalive_timeout=keepalive_timeout,
        )
        self._lines: list[Line] = []

    async def line(self, sid: str = "") -> Line:
        line = Line(*await asyncio.open_connection(*self.runner.addresses[0][:2]))
        line.sid = sid
        self._lines.append(line)
        return line

    @property
    def by_aiohttp(self) -> int:
        """How many requests aiohttp has handled."""
        assert self.runner.server is not None
        return self.runner.server.requests_count

    async def reason(self) -> Reason:
        return await asyncio.wait_for(self.reasons.get(), LIMIT)


Serve = Callable[..., AbstractAsyncContextManager[Served]]


@asynccontextmanager
async def serve(kind: type[web.AppRunner] = Runner, **options: Any) -> AsyncIterator[Served]:
    served = Served(kind, **options)
    await served.runner.setup()
    try:
        await web.TCPSite(served.runner, "127.0.0.1", 0).start()
        yield served
    finally:
        for line in served._lines:
            line.close()
        await served.runner.cleanup()


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


@pytest.mark.parametrize("calls", CALLS.values(), ids=CALLS)
async def test_answers_are_those_that_aiohttp_gives(
    calls: list[tuple[str, str | None, str]],
) -> None:
    answers: list[list[str]] = []
    for kind in (web.AppRunner, Runner):
        async with serve(kind, max_payload=100) as served:
            line = await served.line()
            await line.open()
            answers.append([])
            for call in calls:
                line.ask(*call)
                answers[-1].append(await line.answer())
    assert answers[0] == answers[1]


async def test_plain_polls_take_the_short_cut_also_on_the_connection_of_the_handshake() -> None:
    async with serve() as served:
        line = await served.line()
        await line.open()
        for _ in range(100):
            line.ask("POST", "4a")
            assert (await line.answer()).endswith("ok")
            line.ask("GET")
            assert (await line.answer()).endswith("4a")
        # The requests that came before aiohttp had done with the handshake are its own too.
        assert served.by_aiohttp < 10


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
        await _until(lambda: served.engine.sessions[line.sid]._polls.ready)
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
        await _until(lambda: served.engine.sessions[line.sid]._polls.ready)
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
        await _until(lambda: served.engine.sessions[line.sid]._polls.ready)
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
        session.send("x" * 16_000_000)
        other.ask("GET")
        await _until(lambda: session._polls._answering is not None)
        session.send("y")
        assert (await other.answer()).endswith("x")
        other.ask("GET")
        assert (await other.answer()).endswith("4y")


async def test_shutdown_answers_the_polls_that_wait() -> None:
    async with serve() as served:
        line = await served.line()
        await line.open()
        other = await served.line(line.sid)
        other.ask("GET")
        await _until(lambda: served.engine.sessions[line.sid]._polls.ready)
        await served.runner.cleanup()
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
        await _until(lambda: all(s._polls.ready for s in sessions.values()))
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
    async with asyncio.timeout(LIMIT):
        while not fact():  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0)
