"""How every test runs, and what they share: the JavaScript clients, and a stock server for them."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import socketio
from aiohttp import web

from gateway.engineio.settings import Settings
from gateway.limits import Limits
from gateway.socketio.server import Server
from tests.app_site import serve_app
from tests.daemon_in_loop import served
from tests.gateway_files import write
from tests.js.install import install
from tests.js_client import JsDriver
from tests.ports import free_port
from tests.slowness import is_slowness

Serve = Callable[..., AbstractAsyncContextManager[str]]

WORKERS_PER_CORE = 4
"""Tests wait more than they compute."""

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile(
    "tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tests")


# asyncio's debug mode warns of callbacks that take long, which says it too.
logging.getLogger("asyncio").addFilter(lambda record: not is_slowness(record.getMessage()))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """The workers of `-n auto`."""
    return WORKERS_PER_CORE * (os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: list[Any]) -> None:
    """Gives the workers the options that this Python was started with."""
    options = [f"-W{option}" for option in sys.warnoptions]
    if sys.flags.dev_mode:
        options.append("-Xdev")
    for spec in specs:
        spec.python = shlex.join([sys.executable, *options])


@pytest.fixture(scope="session", autouse=True)
def patience() -> Iterator[None]:
    """Turns `overload_after` off where it is the default: the loop of a busy machine runs late.

    Tests of that limit set one of their own.
    """
    configure, default = Server.configure, Limits().overload_after

    def configure_patiently(server: Server, settings: Settings, limits: Limits) -> None:
        if limits.overload_after == default:
            limits = replace(limits, overload_after=inf)
        configure(server, settings, limits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Server, "configure", configure_patiently)
        yield


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps what daemons save out of the home of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture
def unused_tcp_port() -> int:
    """A port on which nothing listens, and nothing else will."""
    return free_port()


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
    async with serve_app(app, port) as url:
        yield url


@pytest.fixture
def gateway(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[str]]:
    """Serve a gateway written as text: `async with gateway(config, plugin=...) as url`."""
    return lambda config, **plugins: served(write(tmp_path, config, **plugins))
