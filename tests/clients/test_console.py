"""A page of another origin, in Chromium: its console and its script see why it is refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.app_site import serve_app
from tests.browser import chromium
from tests.clients.install import PACKAGES, install
from tests.daemon_in_loop import served
from tests.deadline import deadline, until
from tests.gateway_files import write

BUNDLE = PACKAGES / "client4.8/dist/socket.io.js"
HINT = "the origin of this page is not in server.cors_origins"
PAGE = """
<!doctype html>
<script src="/socket.io.js"></script>
<script>
  for (const transport of ["polling", "websocket"]) {
    const options = { transports: [transport], reconnection: false, forceNew: true };
    io("GATEWAY", options).on("connect_error", (error) =>
      console.log(transport, error.context?.status ?? "", error.context?.responseText ?? ""));
  }
</script>
"""


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    install()


async def test_the_console_shows_the_cure(tmp_path: Path) -> None:
    file = write(tmp_path, 'reload: {watch: "off"}\nnamespaces: {/: }\n')
    async with served(file) as gateway, page(PAGE.replace("GATEWAY", gateway)) as url:
        said, shown = await console(url)
    body = f'{{"code":4,"message":"Forbidden","hint":"{HINT}"}}'
    assert sorted(said) == [f"polling 403 {body}", "websocket  "]
    refused = f"the server responded with a status of 403 (Forbidden: {HINT})"
    assert f"Failed to load resource: {refused}" in shown
    assert any(each.endswith("Unexpected response code: 403") for each in shown)


@asynccontextmanager
async def page(text: str) -> AsyncIterator[str]:
    """Serve a page; gives its address."""

    async def index(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type="text/html")

    async def bundle(_: web.Request) -> web.FileResponse:
        return web.FileResponse(BUNDLE)

    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_get("/socket.io.js", bundle)
    async with serve_app(app) as url:
        yield f"{url}/"


async def console(url: str) -> tuple[list[str], list[str]]:
    """Open a page: two texts that its script logs, and those that the browser shows by itself.

    https://chromedevtools.github.io/devtools-protocol/
    """
    said: list[str] = []
    shown: list[str] = []
    async with chromium("about:blank") as home, aiohttp.ClientSession() as http, deadline():
        ports = home / "DevToolsActivePort"
        await until(lambda: ports.exists() and ports.read_text().count("\n"))
        devtools = f"http://127.0.0.1:{ports.read_text().splitlines()[0]}"
        async with http.put(f"{devtools}/json/new") as answer:
            tab = json.loads(await answer.text())
        async with http.ws_connect(tab["webSocketDebuggerUrl"]) as line:
            for number, method in enumerate(("Runtime.enable", "Log.enable", "Page.enable")):
                await line.send_json({"id": number, "method": method})
            await line.send_json({"id": 3, "method": "Page.navigate", "params": {"url": url}})
            while len(said) < 2 or sum("403" in each for each in shown) < 2:
                event = await line.receive_json()
                if event.get("method") == "Runtime.consoleAPICalled":
                    said.append(" ".join(str(arg["value"]) for arg in event["params"]["args"]))
                elif event.get("method") == "Log.entryAdded":
                    shown.append(event["params"]["entry"]["text"])
    return said, shown
