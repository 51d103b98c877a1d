from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import socketio
from aiohttp import web

from gateway.testing import TestGateway
from tests.app_site import serve_app
from tests.deadline import DEADLINE
from tests.gateway_files import write

Answer = Callable[["Seen"], Awaitable[web.StreamResponse] | web.StreamResponse]

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Seen:
    """A request as the backend got it."""

    def __init__(self, request: web.Request, body: bytes) -> None:
        self.path = request.raw_path
        self.headers = request.headers
        self.body = body
        self.request = request

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Site:
    """A backend that keeps what it gets and answers with `answer`, with 204 until it is set."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[Seen] = []
        self.answer: Answer = lambda seen: web.Response(status=204)

    async def respond(self, request: web.Request) -> web.StreamResponse:
        seen = Seen(request, await request.read())
        self.seen.append(seen)
        answer = self.answer(seen)
        return answer if isinstance(answer, web.StreamResponse) else await answer


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A backend on loopback."""
    site = Site()
    app = web.Application(client_max_size=10_000_000)
    app.router.add_route("*", "/{path:.*}", site.respond)
    async with serve_app(app) as url:
        site.url = url
        yield site


Asking = Callable[..., TestGateway]


@pytest.fixture
def asking(tmp_path: Path) -> Asking:
    """A gateway whose namespace `/` asks the backend `shop` at a URL; JSON is YAML as well."""

    def make(
        url: str, namespace: dict[str, Any] | None = None, /, *, more: Any = None, **options: Any
    ) -> TestGateway:
        config = {
            "backends": {"shop": {"url": url, **options}},
            "namespaces": {"/": namespace or {"routes": {"buy": use("/buy")}}},
            **(more or {}),
        }
        return TestGateway(write(tmp_path, json.dumps(config)), {})

    return make


def use(path: str, **options: Any) -> dict[str, Any]:
    return {"use": "builtin.http", "with": {"backend": "shop", "path": path, **options}}


def envelope(**fields: Any) -> web.Response:
    return web.Response(text=json.dumps(fields), content_type="application/vnd.sockgw+json")


class StockClient:
    """A client of python-socketio that is connected."""

    def __init__(self) -> None:
        self.socket = socketio.AsyncClient(reconnection=False)

    @property
    def connected(self) -> bool:
        return bool(self.socket.connected)

    async def call(self, event: str, *args: Any) -> list[Any]:
        """Emit an event; gives the arguments of the ack."""
        answer = await self.socket.call(event, args or None, timeout=DEADLINE)
        return [*answer] if isinstance(answer, tuple) else [answer]


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[StockClient]:
    """A client on a WebSocket; `url` is the gateway's."""
    client = StockClient()
    await client.socket.connect(url, transports=["websocket"], wait_timeout=DEADLINE)
    try:
        yield client
    finally:
        await client.socket.disconnect()
