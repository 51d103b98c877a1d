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

from gateway.compiler import load
from gateway.engineio.engine import Engine
from gateway.socketio.server import Server
from tests.engineio.echo import echo_engine, settings_and_limits
from tests.engineio.echo import serving as served_at

__all__ = ["GATEWAY", "JOIN_TIMEOUT", "Served", "serving"]

GATEWAY = Path(__file__).with_name("gateway.yaml")
JOIN_TIMEOUT = 1.0
"""Seconds; the `connectTimeout` that the Socket.IO suite expects."""


@dataclass(frozen=True, slots=True)
class Served:
    """What is served at `url`, and by what."""

    url: str
    server: Server
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
    server = Server(*settings_and_limits(join_timeout=join_timeout, **settings))
    server.live.swap(await server.start(load(file, os.environ).blueprint))
    echo = echo_engine(**settings)
    http = server.engine.http_server("/socket.io/")
    http.routes = {**http.routes, "/engine.io/": echo.respond}
    try:
        async with served_at(http, host, port) as bound:
            url = f"http://{host}:{bound}"
            yield Served(url, server, {"/socket.io/": server.engine, "/engine.io/": echo})
            await asyncio.gather(server.engine.shutdown(), echo.shutdown())
    finally:
        await server.live.close(1.0)


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
