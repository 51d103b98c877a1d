"""Fixtures for every test: the JavaScript clients, and a stock server to hold them to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import socketio
from aiohttp import web

from tests.js.install import install
from tests.js_client import JsDriver
from tests.scenario import write
from tests.served import served

Serve = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture(scope="session")
def js_packages() -> None:
    """The npm packages of `tests/js`."""
    install()


@pytest.fixture
async def js(js_packages: None) -> AsyncIterator[JsDriver]:
    """A driver for JavaScript clients: `client = await js.connect(url)`."""
    async with JsDriver() as driver:
        yield driver
    assert driver.faults == []


@pytest.fixture
def serve() -> Serve:
    """Serves a stock `socketio.AsyncServer`: `async with serve(sio) as url`."""
    return _serve


@asynccontextmanager
async def _serve(sio: socketio.AsyncServer, port: int = 0, **options: Any) -> AsyncIterator[str]:
    app = web.Application(**options)
    sio.attach(app)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
def gateway(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[str]]:
    """Serve a gateway written as text: `async with gateway(config, plugin=...) as url`."""
    return lambda config, **plugins: served(write(tmp_path, config, **plugins))
