"""A headless Chromium, driven by the Chrome DevTools Protocol.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from tests.clients.install import CHROMIUM
from tests.deadline import deadline, until

__all__ = ["Browser", "Page", "browser", "chromium"]

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--remote-debugging-port=0"),
)
"""The last one keeps a headless Chromium that has loaded its page."""


@asynccontextmanager
async def chromium(url: str) -> AsyncIterator[Path]:
    """Run a Chromium that opens `url`; gives its folder."""
    program = CHROMIUM if CHROMIUM.exists() else _installed()
    assert program is not None, "there is no Chromium for this platform: install one"
    environ = {**os.environ, "LD_LIBRARY_PATH": str(CHROMIUM.parent / "lib")}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        process = await asyncio.create_subprocess_exec(
            program,
            *FLAGS,
            f"--user-data-dir={home}",
            url,
            env={**environ, "HOME": home},
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            yield Path(home)
        finally:
            process.terminate()
            await process.wait()


def _installed() -> str | None:
    return shutil.which("chromium") or shutil.which("google-chrome")


class Browser:
    """A running Chromium. `complaints` are the errors and failed requests of its pages."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.complaints: list[str] = []
        self._socket = socket
        self._ids = count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def page(self, url: str, width: int = 1100, height: int = 700) -> Page:
        """Open a page as somebody else's: with storage of its own."""
        context = (await self.call("Target.createBrowserContext"))["browserContextId"]
        options = {"browserContextId": context, "width": width, "height": height}
        target = (await self.call("Target.createTarget", url="about:blank", **options))["targetId"]
        attached = await self.call("Target.attachToTarget", targetId=target, flatten=True)
        page = Page(self, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log"):
            await page.call(f"{domain}.enable")
        await page.resize(width, height)
        await page.call("Page.navigate", url=url)
        await page.until("document.readyState === 'complete' && location.href !== 'about:blank'")
        return page

    async def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol."""
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        await self._socket.send_json({**message, "sessionId": session} if session else message)
        async with deadline():
            found = await answer
        assert "error" not in found, f"{method}: {found['error']}"
        return dict(found["result"])

    async def read(self) -> None:
        """Read what the browser says, until cancelled."""
        async for message in self._socket:
            heard = json.loads(message.data)
            match heard.get("method"):
                case None:
                    self._answers.pop(heard["id"]).set_result(heard)
                case "Runtime.exceptionThrown":
                    self.complaints.append(str(heard["params"]["exceptionDetails"]))
                case "Log.entryAdded" if heard["params"]["entry"]["level"] == "error":
                    self.complaints.append(str(heard["params"]["entry"]))


class Page:
    """A page in the browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        return await self._browser.call(method, self._session, **params)

    async def evaluate(self, code: str) -> Any:
        """The value of an expression of JavaScript; of a promise, what it becomes."""
        options = {"returnByValue": True, "awaitPromise": True}
        found = await self.call("Runtime.evaluate", expression=code, **options)
        assert "exceptionDetails" not in found, f"{code}: {found['exceptionDetails']}"
        return found["result"].get("value")

    async def until(self, code: str) -> None:
        """Wait until an expression is true."""
        look = f"() => {code} ? done() : setTimeout(look, 20)"
        await self.evaluate(f"new Promise((done) => {{ const look = {look}; look(); }})")

    async def text(self, selector: str) -> str:
        """The text of an element."""
        return str(await self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    async def reads(self, selector: str, text: str) -> None:
        """Wait until an element contains a text."""
        found = f"document.querySelector({json.dumps(selector)})?.innerText"
        await self.until(f"({found} ?? '').includes({json.dumps(text)})")

    async def click(self, selector: str) -> None:
        """Click the middle of an element, as a mouse does."""
        element = f"document.querySelector({json.dumps(selector)})"
        box = await self.evaluate(f"{element}.getBoundingClientRect().toJSON()")
        at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        for kind in ("mousePressed", "mouseReleased"):
            await self.call(
                "Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at
            )

    async def type(self, selector: str, text: str) -> None:
        """Put text into a field, and press Enter."""
        await self.click(selector)
        await self.call("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
            await self.call("Input.dispatchKeyEvent", type=kind, **key)

    async def resize(self, width: int, height: int, is_phone: bool = False) -> None:
        options = {"deviceScaleFactor": 2 if is_phone else 1, "mobile": is_phone}
        await self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, **options)

    async def overflows(self) -> bool:
        """True if the page is wider than its window."""
        root = "document.documentElement"
        return bool(await self.evaluate(f"{root}.scrollWidth > {root}.clientWidth"))

    async def screenshot(self) -> bytes:
        """What is seen, as a PNG file."""
        return base64.b64decode((await self.call("Page.captureScreenshot"))["data"])


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Run a Chromium; afterwards no page of it may have complained."""
    async with chromium("about:blank") as home, aiohttp.ClientSession() as http:
        known = home / "DevToolsActivePort"
        await until(lambda: known.exists() and len(known.read_text().splitlines()) == 2)
        port, path = known.read_text().splitlines()
        url = f"ws://127.0.0.1:{port}{path}"
        async with http.ws_connect(url, max_msg_size=0) as socket:
            one = Browser(socket)
            reading = asyncio.create_task(one.read())
            try:
                yield one
            finally:
                reading.cancel()
                await asyncio.wait([reading])
    assert not one.complaints, one.complaints
