"""Behind a proxy that breaks WebSockets the stock clients are served on polling."""

from __future__ import annotations

import asyncio
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest

from tests.engineio.proxy import Fault, Proxy
from tests.js_client import JsDriver

CONFIG = """
namespaces:
  /:
    routes: {reply: plugin.reply}
"""

PLUGIN = """
async def reply(ctx):
    return tuple(ctx.args)
"""


@pytest.mark.parametrize("version", [4, 3])
@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name.lower())
async def test_clients_stay_on_polling_with_few_requests(
    js: JsDriver, gateway: Any, version: Literal[3, 4], fault: Fault
) -> None:
    """Every poll that is ended early is a poll that comes again."""
    async with (
        gateway(CONFIG, plugin=PLUGIN) as url,
        Proxy(urlsplit(url).port, fault) as proxy,
    ):
        client = await js.connect(f"http://127.0.0.1:{proxy.port}", version=version)
        await asyncio.sleep(2)  # not a wait: the time that the requests are counted in
        assert proxy.requests < 10
        for number in range(3):
            assert await client.call("reply", number, b"\0") == [number, b"\0"]
    assert client.transport == "polling"
    assert "upgrade" not in [report.event for report in client.log]
