"""Sockets that call and answer all the time, and count what happens.

The client is as small as possible, so that the load costs less than what it measures: WebSocket
only, short frames only, masked with zeros.
"""

from __future__ import annotations

import asyncio
import random
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import orjson

from bench.reloading.edits import PARTS

__all__ = ["Account", "Socket", "connect"]

KINDS = ("say", "say", "ask", "say", "ask", "say", "linger", "say")
LINGER = 0.4
"""The longest `linger`, in seconds: long enough to outlive a swap."""

ACK = re.compile(rb"4(\d)(\d*)(.*)", re.DOTALL)
UPGRADE = (
    "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\n\r\n"
)


@dataclass(slots=True)
class Account:
    """Counts of the traffic of all sockets.

    `sent` and `took` are, for each answered `say`, when it was sent and how many seconds its
    answer took. `seen` is when a state was first in an answer. `bad` counts bad answers by kind.
    """

    states: Mapping[tuple[int, ...], int]
    sent: array[float] = field(default_factory=lambda: array("d"))
    took: array[float] = field(default_factory=lambda: array("d"))
    seen: dict[int, float] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    answered: int = 0
    asked: int = 0
    dropped: int = 0
    lost: int = 0
    mixed: int = 0
    bad: Counter[str] = field(default_factory=Counter)

    async def first(self, state: int) -> float:
        """Wait until a state is in an answer; the time it first was."""
        while state not in self.seen:
            self.news.clear()
            await self.news.wait()
        return self.seen[state]

    def judge(self, answer: Any, newest: int) -> int:
        """Count an answer; the number of the state it comes from, `newest` if from none."""
        if isinstance(answer, dict) and "error" in answer:
            self.lost += 1
            self.bad[f"error {answer['error']['code']}"] += 1
            return newest
        self.answered += 1
        stamps = set(_stamps(answer))
        versions = dict(stamps)
        state = self.states.get(tuple(versions.get(part, -1) for part in PARTS))
        if len(stamps) != len(PARTS) or state is None or state < newest:
            self.mixed += 1
            self.bad[f"mixed {sorted(stamps)}"] += 1
            return newest
        if state not in self.seen:
            self.seen[state] = perf_counter()
            self.news.set()
        return state


class Socket(asyncio.Protocol):
    """One socket, which sends a packet every `every` seconds and answers calls.

    `kinds` are the events it sends in turn. It never has two packets under way, so its answers
    must not go back to an older state.
    """

    def __init__(self, account: Account, every: float, kinds: tuple[str, ...], host: str) -> None:
        self.account = account
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pending: float | None = None
        self.ending = False
        self._every = every
        self._kinds = kinds
        self._host = host
        self._number = random.randrange(len(kinds))
        self._newest = 0
        self._buffer = b""
        self._upgraded = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(UPGRADE.format(host=self._host).encode())

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ending:
            self.account.dropped += 1
            self.ending = True

    def start(self, delay: float) -> None:
        """Begin to send after `delay` seconds."""
        self._next = asyncio.get_running_loop().call_later(delay, self._ask)

    def stop(self) -> None:
        """Stop sending; packets in flight may still be answered."""
        self._next.cancel()
        self._every = 0

    def close(self) -> None:
        self.ending = True
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._upgraded:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            assert b" 101 " in head, head
            self._upgraded, self._buffer = True, rest
        while (frame := self._frame()) is not None:
            self._packet(frame)

    def _frame(self) -> bytes | None:
        buffer = self._buffer
        if len(buffer) < 4:
            return None
        start, length = 2, buffer[1]
        if length == 126:
            start, length = 4, int.from_bytes(buffer[2:4], "big")
        if len(buffer) < start + length:
            return None
        self._buffer = buffer[start + length :]
        return b"" if buffer[0] == 0x88 else buffer[start : start + length]

    def _packet(self, packet: bytes) -> None:
        if packet == b"2":
            self._send(b"3")
        elif packet[:1] == b"0":
            self._send(b"40")
        elif found := ACK.fullmatch(packet):
            self._message(int(found[1]), found[2], found[3])
        else:
            self._transport.close()  # the gateway's doing: counts as dropped

    def _message(self, kind: int, id: bytes, data: bytes) -> None:
        if kind == 0:
            self.ready.set_result(None)
        elif kind == 2:
            self.account.asked += 1
            self._send(b"43%s%s" % (id, orjson.dumps(orjson.loads(data)[1:])))
        elif kind == 3:
            self._answered(orjson.loads(data)[0])
        else:
            self._transport.close()

    def _ask(self) -> None:
        self._number += 1
        event = self._kinds[self._number % len(self._kinds)]
        args = [event, random.random() * LINGER] if event == "linger" else [event]
        self._send(b"42%d%s" % (self._number, orjson.dumps(args)))
        self._event = event
        self.pending = perf_counter()

    def _answered(self, answer: Any) -> None:
        assert self.pending is not None
        now, sent, self.pending = perf_counter(), self.pending, None
        if self._event == "say":
            self.account.sent.append(sent)
            self.account.took.append(now - sent)
        self._newest = self.account.judge(answer, self._newest)
        if self._every:
            self.start(max(0.0, self._every - (now - sent)))

    def _send(self, packet: bytes) -> None:
        size = len(packet)
        assert size < 126
        self._transport.write(b"\x81%c\x00\x00\x00\x00%s" % (0x80 | size, packet))


async def connect(
    url: str, account: Account, every: float, kinds: tuple[str, ...] = KINDS
) -> Socket:
    """Open a socket at the gateway at `url`."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    _, socket = await asyncio.get_running_loop().create_connection(
        lambda: Socket(account, every, kinds, parts.netloc), parts.hostname, parts.port
    )
    await asyncio.wait_for(socket.ready, 30)
    return socket


def _stamps(answer: Any) -> Iterator[tuple[str, int]]:
    """Every stamp in an answer, however deep."""
    if isinstance(answer, dict):
        yield from answer.items()
    else:
        for part in answer:
            yield from _stamps(part)
