"""Crowds: many connections of one kind, what the gateway holds for each, and when they end."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from bench.flooding.gateway import Program, running
from bench.flooding.processes import started
from bench.flooding.wire import PATIENCE, UPGRADE, connect, frame, get, post
from bench.flooding.witness import Calls, bystand

__all__ = ["CROWDS", "Crowd", "gather"]

SHORT = {"connections_per_second": "unlimited", "request_timeout": "5s", "join_timeout": "8s"}
"""Limits under which all of it takes seconds."""

SHORT_IF_KNOWN = {"keepalive_timeout": "8s"}
"""Limits that not every revision knows."""

SETTLE = 1.0
"""Seconds before memory is read."""

LIMIT = 30.0
"""Seconds after the last of a crowd has connected, in which they have to end."""

Step = Callable[["_Member"], bytes]


@dataclass(frozen=True, slots=True)
class Crowd:
    """A crowd: how many of how many connected were held, bytes for each, and the ends.

    `first` and `last` are the seconds after the last one connected in which the first and the last
    end came; `left` did not end. `idle_cpu` is the share of a core that the gateway used while
    nothing was sent. `worst` is the longest call of a bystander, in seconds.
    """

    gateway: str
    kind: str
    wanted: int
    held: int
    bytes: int
    opening: float
    idle_cpu: float
    first: float
    last: float
    left: int
    worst: float
    busy: int
    lost: int
    faults: tuple[str, ...]
    load: float


@dataclass(slots=True)
class _Member:
    """One connection and what it still has to send: each step once the one before is answered."""

    line: socket.socket
    steps: list[Step]
    read: bytearray = field(default_factory=bytearray)

    @property
    def sid(self) -> str:
        """The id in the last answer."""
        return self.read.rpartition(b'"sid":"')[2].partition(b'"')[0].decode()


def _say(text: bytes) -> Step:
    return lambda member: text


_HALF_BODY: Step = lambda member: post(member.sid, b"4", length=100)  # noqa: E731

CROWDS: Mapping[str, Sequence[Step]] = {
    "silent": (),
    "half a head": (_say(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n"),),
    "half a body": (_say(get()), _HALF_BODY),
    "idle after an answer": (_say(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"), _say(b"")),
    "never joined, WebSocket": (_say(UPGRADE), _say(b"")),
    "never joined, polling": (_say(get()), _say(b"")),
    "never joined, poll waits": (_say(get()), lambda member: get(member.sid)),
    "joined, WebSocket": (_say(UPGRADE + frame(b"40")), _say(b"")),
}
"""What each connection sends, by the name of the crowd; an empty step waits for the answer."""


def gather(program: Program, kind: str, wanted: int, seconds: float = LIMIT) -> Crowd:
    """Connect a crowd to a gateway of its own, and wait for the ends, up to some seconds."""
    load = os.getloadavg()[0]
    with (
        running(program, settings=_settings(program)) as gateway,
        started(bystand, gateway.port, gateway.pid) as bystander,
    ):
        time.sleep(SETTLE)
        memory, descriptors, began = gateway.memory(), gateway.descriptors(), time.monotonic()
        with _connected(gateway.port, wanted, CROWDS[kind]) as members:
            opened = time.monotonic()
            time.sleep(SETTLE)
            held = gateway.descriptors() - descriptors
            grown = gateway.memory() - memory
            cpu = gateway.cpu()
            time.sleep(SETTLE)
            idle_cpu = (gateway.cpu() - cpu) / SETTLE
            ends = [at - opened for at in _ends(members, opened + seconds)]
        bystander.send(False)
        calls: Calls = bystander.recv()
        return Crowd(
            gateway=program.checkout.name,
            kind=kind,
            wanted=wanted,
            held=held,
            bytes=grown // max(1, held),
            opening=opened - began,
            idle_cpu=idle_cpu,
            first=min(ends, default=0.0),
            last=max(ends, default=0.0),
            left=len(members) - len(ends),
            worst=calls.worst,
            busy=calls.busy,
            lost=calls.lost,
            faults=gateway.faults(),
            load=load,
        )


def _settings(program: Program) -> dict[str, str]:
    schema = (program.checkout.folder / "schema" / "gateway.schema.json").read_text()
    known = {name: value for name, value in SHORT_IF_KNOWN.items() if name in schema}
    limits = ", ".join(f"{name}: {value}" for name, value in (SHORT | known).items())
    server = "{port: 0, ping_interval: 5s, ping_timeout: 5s}"
    return {"limits": f"{{{limits}}}", "server": server}


@contextmanager
def _connected(port: int, wanted: int, steps: Sequence[Step]) -> Iterator[list[_Member]]:
    members: list[_Member] = []
    try:
        while len(members) < wanted:
            batch = [_Member(connect(port), list(steps)) for _ in range(min(100, wanted))]
            members += batch
            _take_steps(batch)
        yield members
    finally:
        for member in members:
            member.line.close()


def _take_steps(members: Sequence[_Member]) -> None:
    """Let all of them send their steps, each in its time."""
    waiting = {member.line.fileno(): member for member in members}
    with select.epoll() as ready:
        for number, member in list(waiting.items()):
            member.line.setblocking(False)
            ready.register(number, select.EPOLLIN)
            _next_step(member, waiting)
        while waiting:
            events = ready.poll(PATIENCE)
            if not events:
                raise RuntimeError(f"{len(waiting)} requests of a crowd have no answer")
            for number, _ in events:
                member = waiting.get(number)
                if member is None:
                    ready.unregister(number)
                    continue
                data = member.line.recv(2**16)
                if not data:
                    waiting.pop(number)
                    ready.unregister(number)
                    continue
                member.read += data
                _next_step(member, waiting)


def _next_step(member: _Member, waiting: dict[int, _Member]) -> None:
    if member.steps:
        member.line.send(member.steps.pop(0)(member))
    if not member.steps:
        waiting.pop(member.line.fileno(), None)


def _ends(members: Sequence[_Member], until: float) -> Iterator[float]:
    """The times at which connections end, until a time of the monotonic clock."""
    lines = {member.line.fileno(): member.line for member in members}
    with select.epoll() as ready:
        for number in lines:
            ready.register(number, select.EPOLLIN)
        while lines and (wait := until - time.monotonic()) > 0:
            for number, _ in ready.poll(wait):
                if _is_over(lines[number]):
                    ready.unregister(number)
                    del lines[number]
                    yield time.monotonic()


def _is_over(line: socket.socket) -> bool:
    """Read what came; true at the end, or when the WebSocket is closed."""
    with suppress(BlockingIOError):
        try:
            data = line.recv(2**16)
        except ConnectionError:
            return True
        return not data or data[:1] == b"\x88"
    return False
