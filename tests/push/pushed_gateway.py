"""A daemon with an api, clients of it, and requests to its api."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import socketio

from gateway.daemon.daemon import Daemon, StartupInfo
from tests.deadline import deadline

__all__ = ["CONFIG", "PLUGIN", "TOKENS", "Api", "Phone", "pushed", "write_gateway"]

TOKENS = {
    "all": "all-0123456789abcdef",
    "shop": "shop-0123456789abcdef",
    "reader": "reader-0123456789abcdef",
}
CONFIG = """
server: {port: 0}
api:
  port: 0
  tokens:
    - {name: all, token: all-0123456789abcdef, scopes: [push, read]}
    - {name: shop, token: shop-0123456789abcdef, scopes: ["push:/shop", "read:shop"]}
    - {name: reader, token: reader-0123456789abcdef, scopes: [read]}
namespaces:
  /:
  /shop:
    user: data.user
    connection_middleware: [shop.enter]
"""
PLUGIN = """
async def enter(ctx, next):
    ctx.socket.data["user"] = ctx.socket.handshake.auth.get("user")
    await ctx.socket.join(ctx.socket.handshake.auth.get("rooms", []))
    await next()
"""


def write_gateway(folder: Path, config: str = CONFIG) -> Path:
    """Write the gateway; returns its file."""
    (folder / "plugins").mkdir(exist_ok=True)
    (folder / "plugins" / "shop.py").write_text(PLUGIN)
    file = folder / "gateway.yaml"
    file.write_text(config)
    return file


class Api:
    """Requests to the api at `url`, with one of `TOKENS` or none."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.http, self.url = http, url
        self.headers: dict[str, str] = {}

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = "all",
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> tuple[int, Any]:
        """Ask; returns the status and the answer."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {TOKENS.get(token, token)}"
        content = json.dumps(body).encode() if body is not None else data
        async with (
            deadline(),
            self.http.request(method, self.url + path, data=content, headers=sent) as answer,
        ):
            self.headers = dict(answer.headers)
            kind = "application/json" if answer.status == 200 else "application/problem+json"
            assert answer.content_type == kind
            return answer.status, json.loads(await answer.read())

    async def post(self, operation: str, body: object, **options: Any) -> Any:
        """Push; returns the answer, which must be one of success."""
        status, answer = await self.ask("POST", f"/v1/{operation}", body, **options)
        assert status == 200, answer
        return answer

    async def get(self, path: str, **options: Any) -> Any:
        """List; returns the answer, which must be one of success."""
        status, answer = await self.ask("GET", f"/v1/{path}", **options)
        assert status == 200, answer
        return answer

    async def refused(self, operation: str, body: object, **options: Any) -> tuple[int, str, str]:
        """Push; returns the status, the code and the detail of the problem."""
        status, answer = await self.ask("POST", f"/v1/{operation}", body, **options)
        assert answer["status"] == status
        assert answer.keys() == {"title", "status", "code", "detail"}
        return status, answer["code"], answer["detail"]


class Phone:
    """A client in /shop, with the events that it got."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[tuple[str, list[Any]]] = asyncio.Queue()
        self.gone = asyncio.Event()
        self.answers: Any = None
        self._client = socketio.AsyncClient(reconnection=False)
        self._client.on("*", self._heard, namespace="/shop")
        self._client.on("disconnect", self._left, namespace="/shop")

    async def connect(self, url: str, user: object, *rooms: str) -> None:
        auth = {"user": user, "rooms": list(rooms)}
        await self._client.connect(
            url, auth=auth, namespaces=["/shop"], transports=["websocket"], wait_timeout=60
        )

    @property
    def id(self) -> str:
        return str(self._client.get_sid("/shop"))

    async def next(self) -> tuple[str, list[Any]]:
        """The next event."""
        async with deadline():
            return await self.events.get()

    async def close(self) -> None:
        await self._client.disconnect()

    async def _heard(self, event: str, *args: Any) -> Any:
        self.events.put_nowait((event, list(args)))
        return self.answers

    async def _left(self, reason: str) -> None:
        self.gone.set()


@asynccontextmanager
async def pushed(file: Path) -> AsyncIterator[tuple[Api, StartupInfo]]:
    """Run a daemon in this loop; gives its api."""
    started: asyncio.Future[StartupInfo] = asyncio.get_running_loop().create_future()
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(file, environ={"XDG_STATE_HOME": folder})
        running = asyncio.create_task(daemon.run(started.set_result))
        await asyncio.wait({running, started}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        info = started.result()
        try:
            async with aiohttp.ClientSession() as http:
                yield Api(http, info.push.url), info
        finally:
            daemon.stop()
            await running
