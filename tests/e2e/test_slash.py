"""`server.path`, with and without the slash that Socket.IO's clients end it with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.daemon_in_loop import served
from tests.gateway_files import write
from tests.js_client import JsDriver

CONFIG = """
server: {{path: {path}}}
namespaces:
  /:
    routes: {{say: chat.say}}
"""
SAY = "async def say(ctx, text): return text\n"


@pytest.mark.parametrize("path", ["/socket.io", "/socket.io/", "/deep/er/"])
@pytest.mark.parametrize("slash", [True, False])
@pytest.mark.parametrize("transports", [["polling"], ["websocket"], ["polling", "websocket"]])
async def test_clients_may_leave_the_slash_out(
    js: JsDriver, tmp_path: Path, path: str, slash: bool, transports: list[str]
) -> None:
    file = write(tmp_path, CONFIG.format(path=path), chat=SAY)
    options: dict[str, Any] = {"path": path, "addTrailingSlash": slash, "transports": transports}
    async with served(file) as url:
        client = await js.connect(url, **options)
        if len(transports) == 2:
            await client.receive("upgrade")
        assert await client.call("say", "hello") == ["hello"]
        await client.disconnect()
