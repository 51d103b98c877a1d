"""A gateway with limits, and a client that was there all along and is to notice nothing."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.daemon.reload import Verdict
from tests.reload.calling_client import caller
from tests.reload.edited_daemon import Running, running, until

__all__ = ["Bounded", "bounded"]

CONFIG = """
reload: {{watch: "off"}}
admin: {{socket: admin.sock}}
limits: {{{limits}}}
namespaces:
  /witness: {{routes: {{say: plugin.say}}}}
  /:
    limits: {{{own}}}
    routes:
      say: plugin.say
      hold: plugin.hold
      let: plugin.let
      enter: plugin.enter
      block: plugin.block
      flood: plugin.flood
      disconnect: plugin.left
"""

PLUGIN = """
import asyncio
import time

waiting = asyncio.Event()
reasons = []

async def say(ctx, *args):
    return args

async def hold(ctx):
    await waiting.wait()
    return "held"

async def let(ctx):
    waiting.set()

async def enter(ctx, room: str):
    await ctx.socket.join(room)
    return sorted(set(ctx.socket.rooms) - {ctx.socket.id})

async def block(ctx, seconds: float):
    time.sleep(seconds)

async def flood(ctx, count: int, size: int):
    for number in range(count):
        await ctx.socket.emit("part", number, b"x" * size)

async def left(ctx):
    reasons.append(ctx.args[0])
"""


class Bounded:
    """The gateway, and what it counts."""

    def __init__(self, one: Running) -> None:
        self._one = one
        self.url = one.url

    @property
    def reasons(self) -> list[str]:
        """Why sockets of `/` have left."""
        modules = self._one.serving.build.plugins
        reasons: list[str] = modules.resolve("plugin.left").target.__globals__["reasons"]
        return reasons

    async def met(self) -> dict[str, int]:
        """The limits that were met, how often."""
        found = re.findall(r'sockgw_limited_total\{limit="(\w+)"\} (\S+)', await self._metrics())
        return {limit: int(float(count)) for limit, count in found if float(count)}

    async def reload(self, limits: str, own: str = "") -> Verdict:
        """Have other limits."""
        self._one.config(CONFIG.format(limits=limits, own=own))
        verdict = await self._one.reload()
        assert verdict.result == "applied", verdict
        return verdict

    async def _metrics(self) -> str:
        metrics: str = await self._one.get("/metrics")
        return metrics


@asynccontextmanager
async def bounded(folder: Path, limits: str = "", own: str = "") -> AsyncIterator[Bounded]:
    """Serve with `limits` of the gateway, and those that `/` has of its own."""
    config = CONFIG.format(limits=limits, own=own)
    async with (
        running(folder, config, plugin=PLUGIN) as one,
        caller(one.url, "/witness") as witness,
    ):
        assert await witness.call("say", 1) == [1]
        yield Bounded(one)
        assert await witness.call("say", 2) == [2]
        _end_others(one)
        await until(lambda: _is_alone(one))


def _end_others(one: Running) -> None:
    """End the sessions that poll no more, which would be found out by their pings only."""
    _, *others = one.serving.sockets.engine.sessions.values()
    for session in others:
        session.end("transport close")


def _is_alone(one: Running) -> bool:
    """Whether nothing is counted any more but the witness."""
    sockets = one.serving.sockets
    in_flight, rooms = sockets.dispatcher.in_flight, sockets.hub.rooms
    return (
        in_flight.count == 0
        and not any(in_flight._in.values())
        and dict(rooms.counts) == {"/witness": 1}
        and dict(rooms.addresses) == {"127.0.0.1": 1}
        and sockets.engine.admission._count == 1
    )
