"""A daemon whose limits are met: its file is edited, its figures are read, its clients are told."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.daemon_in_loop import served
from tests.deadline import deadline
from tests.gateway_files import write
from tests.raw_client import Raw

__all__ = ["BUSY", "REFUSED", "Edge", "ask", "edge_of", "error", "until"]

ERROR = {"code": "busy", "message": "too much to do", "data": {"retry_after": 1}}
BUSY = {"error": ERROR}
REFUSED = '{"message":"too much to do","data":{"code":"busy","data":{"retry_after":1}}}'

CONFIG = """
admin: {{socket: admin.sock}}
reload: {{watch: "off"}}
limits: {{{limits}}}
namespaces:
  /:
    limits: {{{own}}}
    routes: &routes
      say: plugin.say
      hold: plugin.hold
      let: plugin.let
      join: plugin.join
      flood: plugin.flood
      told: plugin.told
      here: plugin.here
      blobs: plugin.blobs
      once: plugin.once
      on: plugin.on
      disconnect: plugin.left
  /calm: {{routes: *routes}}
  /brief:
    packet_timeout: 100ms
    routes:
      hold: plugin.hold
      build: {{use: plugin.hold, timeout: 200ms}}
"""

PLUGIN = """
import asyncio, time
from tests.limits.plugin_hooks import stage

reasons = []
leave = asyncio.Event()

async def say(ctx, *args):
    return args

async def hold(ctx):
    await leave.wait()
    return "held"

async def let(ctx):
    leave.set()

async def join(ctx, room: str):
    await ctx.socket.join(room)

async def flood(ctx, first: int, last: int, size: int):
    for number in range(first, last):
        await ctx.gateway.of("/").emit("flood", number, "x" * size)

async def here(ctx):
    return await ctx.gateway.of("/").count()

async def blobs(ctx, first: int, last: int, size: int):
    for number in range(first, last):
        await ctx.gateway.of("/").emit("blob", number, bytes([number]) * size)

async def once(ctx, seconds: float):
    time.sleep(seconds)
    stage.between()

async def on(ctx, seconds: float):
    while not stage.over.is_set():
        time.sleep(seconds)
        await asyncio.sleep(0)
        stage.laps.release()

async def told(ctx):
    return reasons

async def left(ctx):
    reasons.append(ctx.args[0])
"""


class Edge:
    """A gateway at `url`; `limits` and `own` (those of `/`) are written as in YAML."""

    def __init__(self, url: str, file: Path) -> None:
        self.url = url
        self._file = file

    async def limit(self, limits: str = "", own: str = "") -> None:
        """Write other limits, and have them applied."""
        self._file.write_text(CONFIG.format(limits=limits, own=own))
        verdict = json.loads(await self._ask("POST", "/-/reload"))
        assert verdict["result"] == "applied", verdict

    async def met(self, limit: str) -> int:
        """How often a limit was met, by the metrics."""
        found = re.search(
            rf'^sockgw_limited_total{{limit="{limit}"}} (\S+)$',
            await self._ask("GET", "/metrics"),
            re.MULTILINE,
        )
        assert found is not None
        return int(float(found[1]))

    async def _ask(self, method: str, path: str) -> str:
        connector = aiohttp.UnixConnector(str(self._file.parent / "admin.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.request(method, f"http://x{path}") as answer,
        ):
            return await answer.text()


@asynccontextmanager
async def edge_of(folder: Path, limits: str = "", own: str = "") -> AsyncIterator[Edge]:
    file = write(folder, CONFIG.format(limits=limits, own=own), plugin=PLUGIN)
    async with served(file) as url:
        yield Edge(url, file)


async def ask(client: Raw, event: str, *args: object, namespace: str = "/") -> Any:
    """A call, and the arguments of its ack; events that come before it are left out."""
    head = "" if namespace == "/" else f"{namespace},"
    await client.send(f"42{head}7{json.dumps([event, *args])}")
    while not (packet := await client.receive()).startswith(f"43{head}7"):  # type: ignore
        pass
    assert isinstance(packet, str)
    return json.loads(packet.removeprefix(f"43{head}7"))


async def until(client: Raw, *reasons: str) -> None:
    """Ask until sockets have ended for these reasons, and no others."""
    async with deadline():
        while await ask(client, "told") != [list(reasons)]:
            pass


def error(event: str) -> str:
    """The `error` event of a packet that asked for no ack."""
    told = json.dumps({**BUSY, "event": event}, separators=(",", ":"))
    return f'42["error",{told}]'
