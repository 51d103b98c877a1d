"""python-socketio as it is, on this engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import socketio
from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.engineio.server import Engine


class StockServer(socketio.AsyncServer):
    """Echoes every event, and acks it with its arguments. `requests` counts by method."""

    def __init__(self, **options: Any) -> None:
        super().__init__(logger=False, **options)
        self.requests: Counter[str] = Counter()
        self.port = 0
        self.on("*", self._echo)

    def _engineio_server_class(self) -> type[Engine]:
        return Engine

    async def _echo(self, event: str, sid: str, *args: Any) -> tuple[Any, ...]:
        await self.emit(event, args, to=sid)
        return args

    @web.middleware
    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests[request.method] += 1
        return await handler(request)


@asynccontextmanager
async def serving(sio: StockServer) -> AsyncIterator[str]:
    """Serve it; its URL."""
    app = web.Application(middlewares=[sio.count])
    sio.attach(app)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        sio.port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{sio.port}"
    finally:
        await runner.cleanup()
