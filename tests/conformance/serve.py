"""What the official test suites run against: a gateway and an echoing engine on one port.

python -m tests.conformance.serve --port 3000 --ping-interval 0.3 --ping-timeout 0.2
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from gateway.compiler import load
from gateway.engineio.connection import Runner
from gateway.engineio.server import Engine
from gateway.runtime.limits import Limits
from gateway.socketio.adapter import Adapter
from tests.engineio.echo import echo_app

__all__ = ["GATEWAY", "JOIN_TIMEOUT", "Served", "serving"]

GATEWAY = Path(__file__).with_name("gateway.yaml")
JOIN_TIMEOUT = 1.0
"""Seconds; the `connectTimeout` that the Socket.IO suite expects."""


@dataclass(frozen=True, slots=True)
class Served:
    """What is served at `url`, and by what."""

    url: str
    adapter: Adapter
    engines: Mapping[str, Engine]


@asynccontextmanager
async def serving(
    file: Path = GATEWAY,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    join_timeout: float = JOIN_TIMEOUT,
    **settings: Any,
) -> AsyncIterator[Served]:
    """Serve `file` at `/socket.io/` and an echo at `/engine.io/`.

    `settings` are those of both engines, `join_timeout` is in seconds.
    """
    adapter = Adapter(Engine, settings, limits=Limits(join_timeout=join_timeout))
    live = adapter.live
    live.swap(await live.start(load(file, os.environ).blueprint))
    echo = Engine(**settings)
    app = echo_app(echo)
    adapter.server.attach(app, "/socket.io/")
    runner = Runner(app, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        url = f"http://{host}:{runner.addresses[0][1]}"
        yield Served(url, adapter, {"/socket.io/": adapter.server.eio, "/engine.io/": echo})
    finally:
        await runner.cleanup()
        await live.close(1.0)


async def serve(**how: Any) -> None:
    async with serving(cors_origins="*", **how) as served:
        print(*(f"serving at {served.url}{path}" for path in served.engines), sep="\n", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--host", default="127.0.0.1")
    flags.add_argument("--port", type=int, default=3000)
    flags.add_argument("--ping-interval", type=float, default=0.3, help="seconds")
    flags.add_argument("--ping-timeout", type=float, default=0.2, help="seconds")
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(**vars(flags.parse_args())))


if __name__ == "__main__":
    main()
