"""List many sockets and rooms by page, and see how long others wait: `python -m bench.lists`.

Sessions on polling, which keep no connection, join a namespace, each with a room of its own. Then
all of both are listed over the api, while a handler has a turn of the loop whenever it can. The
stall is the longest time between two of its turns.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import orjson

from bench.overload import joined
from bench.results import write_json
from bench.soaking.daemon import running

__all__ = ["main"]

BAR = 0.005
"""Seconds of CPU that a turn of the loop may take."""

AT_ONCE = 20
TOKEN = "0123456789abcdef"
LISTS = {
    "sockets": "/v1/sockets?namespace=/shop&limit=500",
    "rooms": "/v1/namespaces/shop/rooms?limit=500",
}

CONFIG = f"""\
server: {{port: 0, ping_interval: 1h}}
admin: {{socket: admin.sock}}
api: {{socket: api.sock, tokens: [{{name: bench, token: {TOKEN}, scopes: [read]}}]}}
limits: {{sockets: unlimited, connections_per_second: unlimited, overload_after: unlimited}}
namespaces:
  /:
    packet_timeout: 1h
    routes: {{watch: plugin.watch, end: plugin.end}}
  /shop:
    connection_middleware: [plugin.enter]
"""

PLUGIN = """\
import asyncio
import gc
import time

is_over = False

async def enter(ctx, next):
    await ctx.socket.join(f"room-{ctx.socket.id}")
    await next()

async def watch(ctx):
    global is_over
    is_over = False
    gc.collect()  # what the sockets' arrival has left to do is not the lists'
    cpu = wall = 0.0
    while not is_over:
        busy, now = time.thread_time(), time.perf_counter()
        await asyncio.sleep(0)
        cpu, wall = max(cpu, time.thread_time() - busy), max(wall, time.perf_counter() - now)
    return cpu, wall

async def end(ctx):
    global is_over
    is_over = True
"""


@dataclass(frozen=True, slots=True)
class Listed:
    """A list that was read to its end: `pages` of `names`.

    `cpu` and `wall` are the longest turn of the loop meanwhile, in seconds: of CPU, and as a clock
    has it, which counts what other processes did.
    """

    names: int
    pages: int
    cpu: float
    wall: float


def main() -> None:
    """List, and print how long others waited."""
    parser = argparse.ArgumentParser(prog="python -m bench.lists", description=__doc__)
    parser.add_argument("--sockets", type=int, default=50_000)
    parser.add_argument("--json", type=Path, metavar="FILE", help="for everything measured")
    options = parser.parse_args()
    found = asyncio.run(_measured(options.sockets))
    for name, each in found.items():
        print(
            f"{each.names:,} {name} on {each.pages} pages: the longest turn took "
            f"{each.cpu * 1000:.2f} ms of CPU, {each.wall * 1000:.2f} ms by the clock"
        )
    if options.json:
        write_json(options.json, found)
    worst = max(each.cpu for each in found.values())
    print(f"{'within' if worst <= BAR else 'beyond'} the bar of {BAR * 1000:.0f} ms of CPU")


async def _measured(sockets: int) -> dict[str, Listed]:
    with tempfile.TemporaryDirectory() as folder:
        gateway = Path(folder, "gateway")
        async with running(gateway, CONFIG, PLUGIN) as daemon, aiohttp.ClientSession() as http:
            port = await daemon.port()
            url = f"http://127.0.0.1:{port}/socket.io/?EIO=4&transport=polling"
            await asyncio.gather(
                *(_join(http, url, len(range(at, sockets, AT_ONCE))) for at in range(AT_ONCE))
            )
            async with joined(http, port) as watch, _api(gateway / "api.sock") as api:
                return {name: await _listed(watch, api, name) for name in LISTS}


async def _join(http: aiohttp.ClientSession, url: str, count: int) -> None:
    """Open so many sessions, one after the other."""
    for _ in range(count):
        async with http.get(url) as opened:
            session = orjson.loads((await opened.read())[1:])["sid"]
        async with http.post(f"{url}&sid={session}", data="40/shop,") as answer:
            assert await answer.text() == "ok"


@asynccontextmanager
async def _api(path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    connector = aiohttp.UnixConnector(str(path))
    async with aiohttp.ClientSession("http://api", connector=connector, headers=headers) as api:
        yield api


async def _listed(
    watch: aiohttp.ClientWebSocketResponse, api: aiohttp.ClientSession, name: str
) -> Listed:
    """Read a list to its end, while the socket `watch` looks for stalls."""
    await watch.send_str('421["watch"]')
    names, pages, after = 0, 0, ""
    while True:
        async with api.get(LISTS[name] + after) as answer:
            page = orjson.loads(await answer.read())
        assert answer.status == 200, page
        names, pages = names + len(page[name]), pages + 1
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    await watch.send_str('42["end"]')
    cpu, wall = orjson.loads((await watch.receive_str()).removeprefix("431"))
    return Listed(names, pages, cpu, wall)


if __name__ == "__main__":
    main()
