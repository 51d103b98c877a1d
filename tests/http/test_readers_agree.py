"""Whoever reads a request, it is the same one: a second reading is what smuggling needs."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
from collections import Counter
from typing import Any

import pytest

from gateway.http import connection as connection_module
from gateway.http.connection import HttpConnection
from gateway.http.parser import END, BadRequest, Parser
from gateway.http.request import Request, read_plain
from tests.deadline import deadline, until
from tests.engineio.echo_server import Server
from tests.http.mutations import REQUESTS, mutated
from tests.http.strict_reader import Incomplete, Refused, Strict, read

HEADS = 15_000
STREAMS = 60


def parsed(data: bytes) -> tuple[list[Strict], bool]:
    """The requests that the parser finds, and if the last one is complete. Raises `BadRequest`."""
    found: list[Strict] = []
    request: Request | None = None
    body = b""
    for event in Parser().feed(data):
        if isinstance(event, Request):
            request, body = event, b""
        elif event is END:
            assert request is not None
            found.append(written(request, body))
            request = None
        else:
            body += event
    return found, request is None


def written(request: Request, body: bytes) -> Strict:
    headers = dict(request.headers)
    return Strict(request.method, request.url, headers, body, request.keeps_alive)


def relative(requests: list[Strict]) -> list[Strict]:
    """With targets as the gateway keeps them: without a fragment."""
    return [
        Strict(
            each.method, each.target.partition("#")[0], each.headers, each.body, each.keeps_alive
        )
        for each in requests
    ]


@pytest.mark.parametrize("seed", range(3))
def test_the_plain_reader_the_parser_and_rfc_9112_agree(seed: int) -> None:
    dice, seen = random.Random(seed), Counter[str]()
    for _ in range(HEADS):
        data = mutated(dice, dice.choice(REQUESTS))
        if not data.partition(b" ")[2].lstrip(b" ").startswith(b"/"):
            continue  # an absolute URL: the strict reader leaves those out
        plain = read_plain(data)
        try:
            found, is_complete = parsed(data)
        except BadRequest:
            assert plain is None, data
            with pytest.raises((Refused, Incomplete)):  # the parser need not wait for the end
                read(data)
            seen["refused"] += 1
            continue
        if plain is not None:
            assert found == [written(plain, plain.body or b"")], data
            assert is_complete
            seen["plain"] += 1
        try:
            strict = relative(read(data))
        except (Incomplete, Refused):
            strict = relative(whole(data))
            seen["incomplete"] += 1
        assert found == strict, data
    assert min(seen["refused"], seen["plain"]) > HEADS / 50, seen
    assert seen["incomplete"] > 0


def whole(data: bytes) -> list[Strict]:
    """The requests before the one that is not complete yet, or not refused yet."""
    for end in range(len(data), 0, -1):
        try:
            return read(data[:end])
        except (Incomplete, Refused):
            continue
    return []


HEAD = "Host: x\r\nAccept: */*\r\n"
PLAIN = [
    (
        f"POST /engine.io/?EIO=4&transport=polling&sid=sid0 HTTP/1.1\r\n{HEAD}"
        "Content-Length: 2\r\n\r\n4a"
    ),
    f"GET /engine.io/?EIO=4&transport=polling&sid=sid0 HTTP/1.1\r\n{HEAD}\r\n",
]
OTHERS = [
    f"GET /engine.io/?EIO=4&transport=polling&sid=none HTTP/1.1\r\n{HEAD}\r\n",
    (
        f"POST /engine.io/?EIO=4&transport=polling&sid=none HTTP/1.1\r\n{HEAD}"
        "Content-Length: 1\r\n\r\n4"
    ),
    f"GET /nowhere?a=b HTTP/1.1\r\n{HEAD}\r\n",
    f"OPTIONS /engine.io/?EIO=4 HTTP/1.1\r\n{HEAD}Origin: http://x\r\n\r\n",
    f"GET /engine.io/?EIO=3&transport=polling HTTP/1.1\r\n{HEAD}\r\n",
]


def stream(dice: random.Random) -> bytes:
    """Requests one behind the other, in which some of those without a session are changed."""
    found = b""
    for _ in range(dice.randrange(1, 6)):
        if dice.random() < 0.4:
            found += "".join(PLAIN).encode()
        else:
            other = dice.choice(OTHERS).encode()
            found += mutated(dice, other) if dice.random() < 0.4 else other
    return found


def cut(dice: random.Random, data: bytes) -> list[bytes]:
    """The bytes in up to five segments."""
    places = sorted(dice.randrange(1, len(data)) for _ in range(dice.randrange(5)))
    ends = [0, *places, len(data)]
    return [data[start:end] for start, end in itertools.pairwise(ends) if start < end]


class Port:
    """A server on which every connection has a session of its own, with the same id each time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._number = 0
        self._read = self._sent = 0
        monkeypatch.setattr("gateway.engineio.engine.new_id", lambda: f"sid{self._number}")
        plain = HttpConnection.data_received

        def counted(connection: HttpConnection, data: bytes) -> None:
            self._read += len(data)
            plain(connection, data)

        monkeypatch.setattr(HttpConnection, "data_received", counted)

    async def answers(self, segments: list[bytes]) -> bytes:
        """All that is answered to the segments, without dates."""
        async with Server(ping_interval=600.0) as server, deadline():
            await self._send(server, b"GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\n"
                             b"Host: x\r\nConnection: close\r\n\r\n", [])  # fmt: skip
            return await self._send(server, b"", segments)

    async def _send(self, server: Server, first: bytes, segments: list[bytes]) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        self._read = self._sent = 0
        for segment in filter(None, [first, *segments]):
            writer.write(segment)
            self._sent += len(segment)
            await until(lambda: self._read >= self._sent or self._is_over(server))
        await until(lambda: all(map(is_quiet, server.http.connections)))
        if not self._is_over(server):
            writer.write_eof()
        answers = await reader.read()
        writer.close()
        return re.sub(rb"Date: [^\r]*\r\n", b"", answers)

    def _is_over(self, server: Server) -> bool:
        """True if the server has begun to close the connection that it read from."""
        return self._read > 0 and all(each._is_over for each in server.http.connections)


def is_quiet(connection: HttpConnection) -> bool:
    """True if a connection waits for the client."""
    waits = connection._request is None or connection._is_reading
    return connection._is_over or (waits and not connection._rest and not connection._events)


async def test_the_answers_are_the_same_without_the_plain_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dice, port = random.Random(1), Port(monkeypatch)
    statuses: Counter[bytes] = Counter()
    plain = connection_module.read_plain
    for _ in range(STREAMS):
        data = stream(dice)
        whole = await port.answers([data])
        in_parts = await port.answers(cut(dice, data))
        monkeypatch.setattr(connection_module, "read_plain", lambda _: None)
        by_parser: Any = await port.answers([data])
        monkeypatch.setattr(connection_module, "read_plain", plain)
        assert whole == by_parser, data
        if b"HTTP/1.1 400 Bad Request\r\nConnection: close" not in whole:
            assert whole == in_parts, data
        statuses.update(re.findall(rb"HTTP/1\.1 (\d+)", whole))
    assert min(statuses[status] for status in (b"200", b"204", b"400", b"404")) > 0, statuses
