"""The official client loses nothing by its upgrade to a WebSocket."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.js_client import JsDriver

CONFIG = """
namespaces:
  /:
    connection_middleware: [plugin.talk]
    routes: {stop: plugin.stop}
"""

PLUGIN = """
import asyncio

async def talk(ctx, next):
    talking = asyncio.create_task(count(ctx.socket))
    ctx.socket.data["talking"] = talking
    await next()
    talking.cancel()

async def count(socket):
    socket.data["said"] = 0
    while True:
        await socket.emit("number", socket.data["said"])
        socket.data["said"] += 1
        await asyncio.sleep(0.001)

async def stop(ctx):
    ctx.socket.data["talking"].cancel()
    return ctx.socket.data["said"]
"""


async def test_nothing_is_lost_while_the_server_talks_before_during_and_after_it(
    js: JsDriver, gateway: Any
) -> None:
    async def check(url: str) -> None:
        client = await js.connect(url)
        await client.receive("upgrade")
        [said] = await client.call("stop")
        numbers = [(await client.receive("number"))[0] for _ in range(said)]
        assert numbers == list(range(said))

    async with gateway(CONFIG, plugin=PLUGIN) as url:
        await asyncio.gather(*(check(url) for _ in range(10)))
