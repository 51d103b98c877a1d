"""Those who notice a flood: a bystander who calls, and newcomers. Each is a process of its own."""

from __future__ import annotations

import os
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from statistics import median

import msgspec

from bench.flooding.wire import BINARY, PATIENCE, WebSocket, frame

__all__ = ["Calls", "Newcomers", "bystand", "come"]

PAUSE = 0.002
"""Seconds between an answer and the next call of a bystander."""

EVERY = 1.0
"""Seconds between two newcomers."""


@dataclass(slots=True)
class Calls:
    """Calls of a bystander: the seconds each took, the answers `busy`, and those without any.

    The seconds in which it or the gateway waited for a core are left out: it was other processes
    that had it. `clock` has all of them.
    """

    seconds: list[float] = field(default_factory=list)
    clock: list[float] = field(default_factory=list)
    busy: int = 0
    lost: int = 0

    @property
    def worst(self) -> float:
        return max(self.seconds, default=PATIENCE)

    @property
    def median(self) -> float:
        return median(self.seconds) if self.seconds else PATIENCE


OPENING, CALL = frame(b"40"), frame(b'420["say"]')

PACKED_OPENING = frame(msgspec.msgpack.encode({"type": 0, "nsp": "/"}), BINARY)
PACKED_CALL = frame(
    msgspec.msgpack.encode({"type": 2, "nsp": "/", "data": ["say"], "id": 0}), BINARY
)


class _Queue:
    """The time that two processes have waited for a core: this one, and the loop of another."""

    def __init__(self, pid: int) -> None:
        paths = ("/proc/self/schedstat", f"/proc/{pid}/schedstat")
        self._files = [os.open(path, os.O_RDONLY) for path in paths]

    def waited(self) -> float:
        """Seconds until now. https://docs.kernel.org/scheduler/sched-stats.html"""
        return sum(int(os.pread(file, 100, 0).split()[1]) for file in self._files) / 1e9


def bystand(port: int, pid: int, pipe: Connection, *, packed: bool = False) -> None:
    """Call the gateway with this pid without end, in MessagePack if `packed`.

    To `True` from the pipe, answer with the calls since it said so last; to `False` too, and end.
    """
    with suppress(PermissionError):
        os.nice(-10)  # its own wait for a core is nobody's stall
    client, queue = WebSocket(port), _Queue(pid)
    with closing(client.line):
        client.line.sendall(PACKED_OPENING if packed else OPENING)
        client.packet()
        pipe.send("ready")
        call = PACKED_CALL if packed else CALL
        calls, goes_on = Calls(), True
        while goes_on:
            _call(client, queue, call, calls)
            if pipe.poll(PAUSE):
                goes_on = pipe.recv()
                pipe.send(calls)
                calls = Calls()


def _call(client: WebSocket, queue: _Queue, call: bytes, calls: Calls) -> None:
    waited, began = queue.waited(), time.perf_counter()
    try:
        client.line.sendall(call)
        answer = client.packet()
    except (ConnectionError, TimeoutError):
        calls.lost += 1
        time.sleep(PAUSE)
        return
    took = time.perf_counter() - began
    calls.clock.append(took)
    calls.seconds.append(max(0.0, took - (queue.waited() - waited)))
    calls.busy += b"busy" in answer


@dataclass(slots=True)
class Newcomers:
    """Newcomers: how many tried and got in, and the seconds that each of those took."""

    tried: int = 0
    seconds: list[float] = field(default_factory=list)

    @property
    def refused(self) -> int:
        return self.tried - len(self.seconds)


def come(port: int, pipe: Connection) -> None:
    """Connect and join once a second until the pipe says something; then send the counts."""
    counts = Newcomers()
    pipe.send("ready")
    while not pipe.poll(EVERY):
        counts.tried += 1
        began = time.perf_counter()
        with suppress(ConnectionError, TimeoutError):
            client = WebSocket(port)
            with closing(client.line):
                client.join(b"40")
                counts.seconds.append(time.perf_counter() - began)
    pipe.send(counts)
