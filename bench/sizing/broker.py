"""What Redis does for a message, by the number of members: these are bare connections here."""

from __future__ import annotations

import asyncio
import selectors
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import msgspec

from bench.buses.sides import SENDS, encoded
from bench.processes import cpu
from bench.sizing.members import Member
from bench.sizing.model import Cost
from bench.sizing.points import paced
from gateway.cluster.redis_channels import Channels
from gateway.cluster.redis_connection import pack
from gateway.cluster.redis_link import subscribe
from tests.programs.redis import Redis

__all__ = ["BATCH", "Brokered", "Subscribers", "beats", "fitted"]

BATCH = 16
MESSAGE = encoded(SENDS)
PUBLISH = pack((b"PUBLISH", b"bench#/#", MESSAGE))
TAGS = 1000
"""Members that a real one is made to believe in."""

PATIENCE = 60.0

QUIET = 0.5
"""Seconds without anything new after which all has come."""


@dataclass(frozen=True, slots=True)
class Brokered:
    """Microseconds of Redis' CPU time for a message of `batch` in a write."""

    subscribers: int
    batch: int
    us: float


def tag(number: int) -> str:
    """The tag of a member that is none."""
    return f"b{number:04d}"


class Subscribers:
    """So many connections that subscribe as members do; the first one publishes as well."""

    def __init__(self, redis: Redis, count: int) -> None:
        self.count, self._redis = count, redis
        self._stack = ExitStack()
        selector = self._stack.enter_context(closing(selectors.DefaultSelector()))
        lines = [_line(redis, self._stack) for _ in range(count)]
        for number, line in enumerate(lines):
            names = Channels("bench", tag(number))
            names.serve(["/"])
            line.sendall(pack((b"HELLO", b"3")) + subscribe(names.subscribed) + pack((b"PING",)))
            _read(line, b"+PONG\r\n")
            selector.register(line, selectors.EVENT_READ)
        self._sender, self._drain = lines[0], _Drain(selector)
        self._sender.sendall(PUBLISH)
        self._drain.size = self._drain.read(2**30, QUIET)

    def cost(self, batch: int, turns: int) -> Brokered:
        """Publish `batch` messages in each turn."""
        self._turn(batch)
        before = cpu([self._redis.pid])
        for _ in paced(turns):
            self._turn(batch)
        used = cpu([self._redis.pid]) - before
        return Brokered(self.count, batch, used / turns / batch * 1e6)

    def _turn(self, batch: int) -> None:
        self._sender.sendall(PUBLISH * batch)
        self._drain.read(self._drain.size * batch)

    def close(self) -> None:
        """Close all."""
        self._stack.close()


def _line(redis: Redis, stack: ExitStack) -> socket.socket:
    line = stack.enter_context(closing(socket.create_connection(("127.0.0.1", redis.port))))
    line.settimeout(PATIENCE)
    return line


def _read(line: socket.socket, ending: bytes) -> None:
    """Read until something comes that ends so."""
    read = b""
    while not read.endswith(ending):
        more = line.recv(2**16)
        if not more:
            raise ConnectionResetError("Redis has hung up")
        read += more


class _Drain:
    """Reads what connections get. `size` are the bytes of one message, to all of them."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.size = 0
        self._selector, self._buffer = selector, bytearray(2**18)

    def read(self, size: int, wait: float | None = None) -> int:
        """Read so many bytes; fewer if nothing comes for `wait` seconds."""
        read = 0
        while read < size and (events := self._selector.select(wait)):
            for key, _ in events:
                read += key.fileobj.recv_into(self._buffer)  # type: ignore[union-attr]
        return read


def fitted(found: Sequence[Brokered]) -> tuple[Cost, Cost]:
    """The costs of a message itself, and for each subscriber, from the fewest and the most."""
    least, most = (pick(each.subscribers for each in found) for pick in (min, max))
    by = {(each.subscribers, each.batch): each.us for each in found}
    slopes = [(by[most, batch] - by[least, batch]) / (most - least) for batch in (1, BATCH)]
    bases = [
        by[least, batch] - least * slope for batch, slope in zip((1, BATCH), slopes, strict=True)
    ]
    return Cost.fitted(*bases, BATCH), Cost.fitted(*slopes, BATCH)


async def beats(member: Member, redis: Redis, turns: int) -> float:
    """Have a member hear the beats of a thousand others; seconds of CPU time for each."""
    return await asyncio.to_thread(_beats, member, redis, turns)


def _beats(member: Member, redis: Redis, turns: int) -> float:
    with ExitStack() as stack:
        line = _line(redis, stack)

        def round_() -> None:
            for number in range(TAGS):
                beat = msgspec.msgpack.encode((tag(number), "here"))
                line.sendall(pack((b"PUBLISH", b"bench-members#", beat)))
                line.recv(2**16)
                time.sleep(0.0005)  # as they come: one at a time

        round_()
        before = cpu([member.pid])
        for _ in range(turns):
            round_()
        used = cpu([member.pid]) - before
        for number in range(TAGS):
            line.sendall(
                pack((b"PUBLISH", b"bench-members#", msgspec.msgpack.encode((tag(number), "bye"))))
            )
            line.recv(2**16)
    return used / turns / TAGS
