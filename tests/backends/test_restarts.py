"""A backend in Node that is killed and started again under load, with stock clients."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gateway.backends import breaker
from tests.backends.conftest import SECRET, StockClient, connected, use
from tests.backends.test_operating import metrics
from tests.backends.test_page import program_on
from tests.cli.daemon_for_verbs import asked
from tests.deadline import deadline
from tests.gateway_files import write
from tests.js.install import NODE
from tests.js_client import JsDriver
from tests.ports import free_port

SHOP = """
const { createServer } = require("node:http");
const { Webhook } = require("standardwebhooks");

const webhook = new Webhook(process.env.ORDERS_SECRET);

createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  let told;
  try {
    told = webhook.verify(Buffer.concat(parts).toString(), request.headers);
  } catch {
    response.writeHead(401).end();
    return;
  }
  if (told.type === "connect" && told.auth.token !== "secret") {
    response.writeHead(403, { "content-type": "application/problem+json" });
    response.end(JSON.stringify({ code: "banned", detail: "go away", data: { for: 1 } }));
    return;
  }
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify(told.args));
}).listen(process.env.PORT, "127.0.0.1");
"""


PAUSED = 'sockgw_backend_calls_total{backend="shop",outcome="paused"}'


def shop(folder: Path, port: int) -> Path:
    """Write the backend, and a gateway that asks it for everything."""
    (folder / "shop.js").write_text(SHOP)
    config = {
        "server": {"port": 0},
        "reload": {"watch": "off"},
        "admin": {"socket": "admin.sock"},
        "backends": {
            "shop": {
                "url": f"http://127.0.0.1:{port}",
                "sign": SECRET,
                "auth": ["token"],
                "timeout": "60s",
            }
        },
        "namespaces": {
            "/": {"routes": {"buy": use("/buy")}},
            "/guarded": {
                "connection_middleware": [use("/connect")],
                "routes": {"buy": use("/buy")},
            },
        },
    }
    return write(folder, json.dumps(config))


class Load:
    """Calls without end; `codes` counts the acks, `sent` what asked for one."""

    def __init__(self, clients: list[StockClient]) -> None:
        self.sent = 0
        self.codes: Counter[str] = Counter()
        self._is_over = False
        self._came = asyncio.Condition()
        self._tasks = [asyncio.create_task(self._buy(each)) for each in clients for _ in range(8)]

    async def until(self, code: str, more: int) -> None:
        """Wait for so many more acks with a code."""
        async with deadline(), self._came:
            wanted = self.codes[code] + more
            await self._came.wait_for(lambda: self.codes[code] >= wanted)

    async def stop(self) -> None:
        """Stop, and wait for all acks."""
        self._is_over = True
        async with deadline():
            await asyncio.gather(*self._tasks)

    async def _buy(self, client: StockClient) -> None:
        while not self._is_over:
            self.sent += 1
            number = self.sent
            [answer] = await client.call("buy", number)
            code = "ok" if answer == [number] else answer["error"]["code"]
            async with self._came:
                self.codes[code] += 1
                self._came.notify_all()


async def test_every_call_is_answered_while_a_backend_dies_and_comes_back(
    js_packages: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "FIRST_PAUSE", 0.2)
    monkeypatch.setattr(breaker, "LONGEST_PAUSE", 0.4)
    port = free_port()
    file = shop(tmp_path, port)
    async with (
        asked(file) as url,
        connected(url) as one,
        connected(url) as two,
    ):
        async with program_on([NODE, "shop.js"], port, tmp_path):
            load = Load([one, two])
            await load.until("ok", 200)
        while not (await metrics(tmp_path))[PAUSED]:  # it was killed
            await load.until("unavailable", 20)
        async with program_on([NODE, "shop.js"], port, tmp_path):
            await load.until("ok", 200)
            await load.stop()
            found = await metrics(tmp_path)
        assert load.codes.keys() == {"ok", "unavailable"}
        assert load.codes.total() == load.sent
        assert one.connected
        assert two.connected
    assert found['sockgw_backend_breaker{backend="shop",state="closed"}'] == 1.0
    assert found['sockgw_backend_in_flight{backend="shop"}'] == 0.0
    counted = sum(value for name, value in found.items() if "calls_total" in name)
    assert counted == load.sent


async def test_javascript_on_both_sides(js: JsDriver, tmp_path: Path) -> None:
    port = free_port()
    values: list[Any] = [1, "ä", b"\x00\xff", {"deep": [b"x", None]}, {"$base64": "real"}]
    async with (
        asked(shop(tmp_path, port)) as url,
        program_on([NODE, "shop.js"], port, tmp_path),
    ):
        client = await js.connect(url, namespace="/guarded", auth={"token": "secret"})
        assert await client.call("buy", *values) == [values]
        other = await js.client(url, namespace="/guarded", auth={"token": "wrong"})
        [error] = await other.receive("connect_error")
    assert error["message"] == "go away"
    assert error["data"] == {"code": "banned", "data": {"for": 1}}
