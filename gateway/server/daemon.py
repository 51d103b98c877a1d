"""The daemon: from gateway.yaml to a listening gateway, and cleanly back to nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from aiohttp import web

from gateway.compiler import Build, load
from gateway.config.model import ServerConfig
from gateway.engine.server import Engine
from gateway.errors import GatewayError
from gateway.transport.adapter import Adapter

__all__ = ["Daemon", "ListenError", "Started"]

log = logging.getLogger("sockgw.server")

DRAIN = 10.0
"""Seconds that handlers in flight get at shutdown."""


class ListenError(GatewayError):
    """The address cannot be listened on; the text is for the operator."""


@dataclass(frozen=True, slots=True)
class Started:
    """What a daemon that listens has to say: what it serves, how and where."""

    build: Build
    server: ServerConfig
    url: str


class Daemon:
    """One gateway process. `host` and `port` stand before what the file says."""

    def __init__(
        self,
        file: Path,
        *,
        environ: Mapping[str, str] = os.environ,
        host: str | None = None,
        port: int | None = None,
        trace: bool = False,
    ) -> None:
        self._file = file
        self._environ = environ
        self._override = {
            key: value for key, value in (("host", host), ("port", port)) if value is not None
        }
        self._trace = trace
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Let `run` end."""
        self._stop.set()

    async def run(self, started: Callable[[Started], None]) -> None:
        """Serve until `stop` or SIGINT or SIGTERM; call `started` once it listens.

        Raises `ConfigError` when the file cannot be served and `ListenError` when its address
        cannot be had.
        """
        build = load(self._file, self._environ, trace=self._trace)
        server = replace(build.config.server, **self._override)
        adapter = Adapter(Engine, _engine_options(server))
        adapter.live.swap(await adapter.live.start(build.blueprint))
        try:
            runner = await _listen(server, adapter)
            try:
                _stop_on_signals(self.stop)
                started(Started(build, server, _url(server, runner)))
                await self._stop.wait()
                log.info("stopping")
                await adapter.live.drain(DRAIN)
                await adapter.server.shutdown()
            finally:
                await runner.cleanup()
        finally:
            await adapter.live.close(DRAIN)


def _engine_options(server: ServerConfig) -> dict[str, object]:
    return {
        "ping_interval": server.ping_interval,
        "ping_timeout": server.ping_timeout,
        "max_payload": server.max_payload,
        "transports": server.transports,
        "cors_origins": server.cors_origins,
    }


async def _listen(server: ServerConfig, adapter: Adapter) -> web.AppRunner:
    app = web.Application()
    adapter.server.attach(app, server.path)
    # A client that goes away while it polls must not eat the packets of its next poll.
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, server.host, server.port).start()
    except (OSError, OverflowError) as error:
        await runner.cleanup()
        reason = getattr(error, "strerror", None) or error
        raise ListenError(f"cannot listen on {server.host}:{server.port}: {reason}") from None
    return runner


def _url(server: ServerConfig, runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{server.path}"


def _stop_on_signals(stop: Callable[[], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
