"""The stock clients come back to a daemon that was stopped, or killed, and started again."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cli.test_run import running
from tests.e2e.clients import KINDS, Kind, Parser
from tests.gateway_files import write
from tests.js_client import JsClient, JsDriver
from tests.ports import free_port

CONFIG = """
server: {serializer: %s}
namespaces:
  /:
    routes: {echo: plugin.echo, reply: plugin.reply}
"""

PLUGIN = """
async def echo(ctx, text):
    await ctx.socket.emit("echo", text)

async def reply(ctx, text):
    return text
"""

RECONNECTION = {"reconnectionDelay": 50, "reconnectionDelayMax": 100, "randomizationFactor": 0}


async def connect(js: JsDriver, url: str, kind: Kind) -> JsClient:
    client = await js.connect(url, **RECONNECTION, **kind.options)
    if kind.transport == "upgrade":
        await client.receive("upgrade")
    return client


def lost_to(kind: Kind, by: signal.Signals) -> str:
    """The reason a client has for its disconnection."""
    told = by is signal.SIGTERM or kind.transport != "polling"
    return "transport close" if told else "transport error"


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM], ids=lambda by: by.name)
@pytest.mark.parametrize("parser", ["json", "msgpack"])
async def test_clients_come_back(
    js: JsDriver, tmp_path: Path, parser: Parser, by: signal.Signals
) -> None:
    file = write(tmp_path, CONFIG % parser, plugin=PLUGIN)
    kinds = [kind for kind in KINDS if kind.parser == parser]
    port = str(free_port())
    async with running(file, "--port", port) as run:
        url = f"http://{urlsplit(await run.url()).netloc}"
        clients = await asyncio.gather(*(connect(js, url, kind) for kind in kinds))
        ids = [client.id for client in clients]
        await run.stop(by)
    for client, kind in zip(clients, kinds, strict=True):
        assert (kind, await client.receive("disconnect")) == (kind, [lost_to(kind, by)])
        await client.receive("reconnect_attempt")
        await client.emit("echo", "made offline")
    async with running(file, "--port", port) as run:
        await run.url()
        for client, before in zip(clients, ids, strict=True):
            await client.receive("connect")
            assert client.id != before
            assert await client.receive("echo") == ["made offline"]
            assert await client.call("reply", "again") == ["again"]
            await client.close()
