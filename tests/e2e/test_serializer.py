"""`server.serializer` waits for a restart: whoever is connected goes on as it began."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.daemon_in_loop import served
from tests.deadline import deadline
from tests.gateway_files import write
from tests.js_client import JsDriver

CONFIG = """
server: {serializer: %s}
namespaces:
  /:
    routes: {%s: plugin.reply}
"""

PLUGIN = """
async def reply(ctx, text):
    return text
"""


@pytest.mark.parametrize(("parser", "other"), [("json", "msgpack"), ("msgpack", "json")])
async def test_a_reload_applies_all_else(
    js: JsDriver, tmp_path: Path, caplog: pytest.LogCaptureFixture, parser: str, other: str
) -> None:
    options = {"parser": "msgpack"} if parser == "msgpack" else {}
    async with served(write(tmp_path, CONFIG % (parser, "old"), plugin=PLUGIN)) as url:
        before = await js.connect(url, **options)
        write(tmp_path, CONFIG % (other, "new"), plugin=PLUGIN)
        async with deadline():
            while await before.call("new", "x") != ["x"]:
                pass
        after = await js.connect(url, **options)
        assert await after.call("new", "x") == ["x"]
    assert "pending restart: server.serializer" in caplog.text


async def test_a_client_of_the_other_serializer_is_closed(js: JsDriver, gateway: Any) -> None:
    async with gateway(CONFIG % ("msgpack", "a"), plugin=PLUGIN) as url:
        client = await js.client(url, transports=["websocket"])
        assert await client.receive("engine_close") == ["transport close"]
        assert "connect" not in [report.event for report in client.log]
