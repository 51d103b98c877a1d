"""`server.compression`: agreed on only when asked for, and taken over by a reload."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest

from tests.daemon_in_loop import served
from tests.deadline import deadline
from tests.gateway_files import write
from tests.js_client import JsDriver

CONFIG = """
server: {compression: %s}
namespaces:
  /:
    routes: {reply: plugin.reply}
"""

PLUGIN = """
async def reply(ctx, text):
    return text
"""

ON, OFF = CONFIG % "true", CONFIG % "false"
AGREED = "permessage-deflate"
Version = Literal[3, 4]


@pytest.mark.parametrize("version", [4, 3])
@pytest.mark.parametrize(
    ("config", "agreed"),
    [(OFF, ""), (OFF.replace("compression: false", ""), ""), (ON, AGREED)],
    ids=["off", "default", "on"],
)
async def test_permessage_deflate_is_agreed_on_only_when_asked_for(
    js: JsDriver, gateway: Any, version: Version, config: str, agreed: str
) -> None:
    async with gateway(config, plugin=PLUGIN) as url:
        client = await js.connect(url, version=version, transports=["websocket"])
        assert client.extensions.split(";")[0] == agreed
        for text in ("x", "x" * 300_000, "€" * 100_000):
            assert await client.call("reply", text) == [text]


@pytest.mark.parametrize(("config", "encoding"), [(OFF, None), (ON, "gzip")])
async def test_polls_are_compressed_only_when_asked_for(
    gateway: Any, config: str, encoding: str | None
) -> None:
    async with gateway(config, plugin=PLUGIN) as address, aiohttp.ClientSession() as http:
        url = f"{address}/socket.io/?EIO=4&transport=polling"
        async with http.get(url) as answer:
            url += "&sid=" + json.loads((await answer.text())[1:])["sid"]
        async with http.post(url, data='40\x1e421["reply","' + "x" * 2000 + '"]'):
            pass
        async with http.get(url, headers={"Accept-Encoding": "gzip"}) as answer:
            assert answer.headers.get("Content-Encoding") == encoding
            assert len(await answer.text()) > 2000


async def test_a_reload_changes_it_for_new_sessions_alone(js: JsDriver, tmp_path: Path) -> None:
    file = write(tmp_path, OFF, plugin=PLUGIN)

    async def extensions(url: str) -> str:
        client = await js.connect(url, transports=["websocket"])
        await client.close()
        return client.extensions.split(";")[0]

    async with served(file) as url:
        before = await js.connect(url, transports=["websocket"])
        write(tmp_path, ON, plugin=PLUGIN)
        await until(lambda: extensions(url), AGREED)
        between = await js.connect(url, transports=["websocket"])
        write(tmp_path, OFF, plugin=PLUGIN)
        await until(lambda: extensions(url), "")
        for client in (before, between):
            assert await client.call("reply", "x" * 100_000) == ["x" * 100_000]
        assert between.extensions


async def until(ask: Callable[[], Awaitable[str]], answer: str) -> None:
    async with deadline():
        while await ask() != answer:
            pass
