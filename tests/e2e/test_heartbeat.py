"""The stock clients answer the server's pings; a ping follows an answer, and nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.e2e.clients import KINDS, Kind, Parser
from tests.js_client import JsClient, JsDriver

CONFIG = """
server: {serializer: %s, ping_interval: 100ms, ping_timeout: 10s}
namespaces:
  /:
    routes: {reply: plugin.reply}
"""

PLUGIN = """
async def reply(ctx):
    return tuple(ctx.args)
"""


@pytest.mark.parametrize("parser", ["json", "msgpack"])
async def test_clients_stay(js: JsDriver, gateway: Any, parser: Parser) -> None:
    async def stay(url: str, kind: Kind) -> JsClient:
        client = await js.connect(url, **kind.options)
        if kind.transport == "upgrade":
            await client.receive("upgrade")
        for _ in range(5):
            await client.receive("ping")
        assert await client.call("reply", 1) == [1]
        return client

    async with gateway(CONFIG % parser, plugin=PLUGIN) as url:
        kinds = [kind for kind in KINDS if kind.parser == parser]
        clients = await asyncio.gather(*(stay(url, kind) for kind in kinds))
        assert not any("disconnect" in {report.event for report in each.log} for each in clients)
