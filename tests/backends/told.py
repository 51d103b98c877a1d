"""A backend that is told of sockets, gateways that tell it, and clients by the hundred."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.app_site import serve_app
from tests.backends.conftest import Seen
from tests.deadline import deadline
from tests.gateway_files import write
from tests.ports import free_port
from tests.raw_client import raw

__all__ = ["Told", "crowd", "gateway_files", "told_backend"]

OWN = """
import os

async def pid(ctx):
    return os.getpid()
"""


class Told:
    """What a backend was told; `status` is what it answers, `requests` are those that it took."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.refused: list[Seen] = []
        self.requests: list[Seen] = []
        self.alive: list[dict[str, Any]] = []
        self._came = asyncio.Condition()

    async def respond(self, request: web.Request) -> web.Response:
        seen = Seen(request, await request.read())
        async with self._came:
            if not seen.path.endswith("/sessions"):
                return web.json_response(1)
            if self.status != 200:
                self.refused.append(seen)
            elif seen.json["type"] == "alive":
                self.alive.append(seen.json)
            else:
                self.requests.append(seen)
            self._came.notify_all()
        return web.Response(status=self.status, text="thanks")

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [each for seen in self.requests for each in seen.json["messages"]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.messages if each["type"] == kind]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds of what has come."""
        async with deadline(), self._came:
            await self._came.wait_for(lambda: bool(condition()))

    async def has(self, kind: str, count: int) -> list[dict[str, Any]]:
        """Wait for so many messages of a type; gives them."""
        await self.until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)


@asynccontextmanager
async def told_backend(port: int = 0) -> AsyncIterator[Told]:
    told = Told()
    app = web.Application(client_max_size=10_000_000)
    app.router.add_route("*", "/{path:.*}", told.respond)
    async with serve_app(app, port) as url:
        told.url = url
        yield told


def gateway_files(
    folder: Path, url: str, workers: int = 1, *, more: Any = None, **sessions: Any
) -> Path:
    """Write a gateway that tells the backend `shop` of its sockets; JSON is YAML as well."""
    sessions.setdefault("spool", {"folder": "spool"})
    config = {
        "server": {"port": free_port(), "workers": workers, "stop_timeout": "5s"},
        "admin": {"port": free_port()},
        "reload": {"watch": "off", "close_window": "200ms"},
        "limits": {"overload_after": "unlimited", "connections_per_second": "unlimited"},
        # A busy machine may be late, and what is not answered in time is told twice.
        "backends": {"shop": {"url": url, "timeout": "100s", "sessions": sessions}},
        "namespaces": {name: {"routes": {"pid": "own.pid"}} for name in ("/", "/a", "/b", "/c")},
        **(more or {}),
    }
    return write(folder, json.dumps(config, indent=1), own=OWN)


async def crowd(
    stack: AsyncExitStack, url: str, clients: int, namespaces: tuple[str, ...] = ("/",)
) -> set[str]:
    """Connect clients, each to some namespaces; gives the ids of all sockets."""
    ids: set[str] = set()
    gate = asyncio.Semaphore(20)

    async def connect() -> None:
        async with gate:
            client = await stack.enter_async_context(raw(url))
            for namespace in namespaces:
                answer = await client.join(namespace)
                assert isinstance(answer, str)
                assert answer.startswith("40")
                ids.add(json.loads(answer[answer.index("{") :])["sid"])

    async with deadline():
        await asyncio.gather(*(connect() for _ in range(clients)))
    return ids
