"""What a socket takes: to connect, to stay, to be in rooms, to call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from bench.flooding.wire import Http, get, join, post
from bench.processes import cpu, held
from bench.sizing.members import Crowd, Member, members
from tests.programs.redis import Redis

__all__ = ["idle", "sockets"]

ROOMS, NAMES = 10, 100
"""Rooms that a socket enters, of so many."""

AT_ONCE = 50
"""Calls that are under way at a time."""

SETTLE = 1.0


async def sockets(folder: Path, count: int) -> dict[str, float]:
    """Microseconds of CPU time and bytes, by the names of the model's constants."""
    async with members(folder / "quiet", 1, None) as (member,):
        found = await asyncio.to_thread(_stay, member, count)
    async with members(folder / "polling", 1, None) as (member,):
        found |= await asyncio.to_thread(_poll, member, count)
    async with members(folder / "pings", 1, None, ping="1s") as (member,):
        found["heartbeat"] = await asyncio.to_thread(_heartbeat, member, count)
    return found


def _stay(member: Member, count: int) -> dict[str, float]:
    found = {"process": float(_memory(member))}
    with _crowd() as crowd:
        crowd.open(member.port, count // 2)  # they fill the memory that the start has left free
        before, used = _memory(member), cpu([member.pid])
        crowd.open(member.port, count)
        found["connect"] = (cpu([member.pid]) - used) / count * 1e6
        found["socket"] = (_memory(member) - before) / count
        found["call"] = _calls(member, crowd)
        before = _memory(member)
        for at, socket in enumerate(crowd.sockets):
            names = [f"room-{(at + step) % NAMES}" for step in range(ROOMS)]
            socket.send(b"421" + repr(["enter", *names]).replace("'", '"').encode())
            socket.packet()
        found["membership"] = (_memory(member) - before) / len(crowd.sockets) / ROOMS
    return found


def _calls(member: Member, crowd: Crowd, turns: int = 40) -> float:
    """Calls of several sockets at a time."""
    callers = crowd.sockets[:AT_ONCE]

    def turn() -> None:
        for socket in callers:
            socket.send(b'421["ask",1]')
        for socket in callers:
            socket.packet()

    return _used(member, turn, turns) / len(callers)


def _poll(member: Member, count: int) -> dict[str, float]:
    """Sessions by polling, which keep no connection; a few of them call."""
    with ExitStack() as stack:
        lines = [stack.enter_context(closing(_Line(member.port))) for _ in range(AT_ONCE)]
        pairs = [(line.http, join(line.http, [b"40"])) for line in lines]
        for _ in range(count // 2):
            join(lines[0].http, [b"40"])
        before = _memory(member)
        for _ in range(count):
            join(lines[0].http, [b"40"])
        memory = (_memory(member) - before) / count

        def turn() -> None:
            for request in (lambda sid: post(sid, b'421["ask",1]'), get):
                for http, sid in pairs:
                    http.line.sendall(request(sid))
                for http, _ in pairs:
                    assert http.hear().status == 200

        return {"polling": memory, "polled": _used(member, turn, 20) / len(pairs)}


class _Line:
    """A connection for requests."""

    def __init__(self, port: int) -> None:
        self.http = Http(port)

    def close(self) -> None:
        self.http.line.close()


def _used(member: Member, turn: Callable[[], None], turns: int) -> float:
    """Microseconds of CPU time of a turn."""
    turn()
    before = cpu([member.pid])
    for _ in range(turns):
        turn()
    return (cpu([member.pid]) - before) / turns * 1e6


def _heartbeat(member: Member, count: int, seconds: float = 4.0) -> float:
    with _crowd() as crowd:
        crowd.open(member.port, count)
        crowd.answer(1.0)
        before = cpu([member.pid])
        pings = crowd.answer(seconds)
        return (cpu([member.pid]) - before) / max(1, pings) * 1e6


def _memory(member: Member) -> int:
    time.sleep(SETTLE)
    return held(member.pid)["private"]


@contextmanager
def _crowd() -> Iterator[Crowd]:
    with closing(Crowd()) as crowd:
        yield crowd


async def idle(folder: Path, count: int, redis: Redis, seconds: float, *, listen: bool) -> float:
    """Microseconds of CPU time that an idle member takes in a second, the mean of `count`."""
    async with members(folder, count, redis, listen=listen) as made:
        await asyncio.sleep(1.0)
        pids = [each.pid for each in made]
        before = cpu(pids)
        await asyncio.sleep(seconds)
        return (cpu(pids) - before) / count / seconds * 1e6
