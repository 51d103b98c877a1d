from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.compiler import load
from gateway.errors import ConfigError
from gateway.testing import TestGateway
from tests.gateway_files import write

Guarded = Callable[..., TestGateway]
Fault = Callable[..., str]


def use(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    return {"use": f"builtin.{name}", "with": dict(options)}


@pytest.fixture
def guarded(tmp_path: Path) -> Guarded:
    """A gateway with one namespace and what is given of it; JSON is YAML as well."""

    def make(**namespace: Any) -> TestGateway:
        plugins = namespace.pop("plugins", {})
        config = json.dumps({"namespaces": {"/": namespace}})
        return TestGateway(write(tmp_path, config, **plugins), {})

    return make


@pytest.fixture
def fault(tmp_path: Path) -> Fault:
    """What `check` says of a built-in with these options, from the built-in's name on."""

    def find(name: str, /, **options: Any) -> str:
        chain = {"connection_middleware": [use(name, options)]}
        file = write(tmp_path, json.dumps({"namespaces": {"/": chain}}))
        with pytest.raises(ConfigError) as caught:
            load(file, {})
        [problem] = caught.value.problems
        return problem.message

    return find


class Clock:
    """A clock that goes when it is told to, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def nanoseconds(self) -> int:
        return round(self.now * 1e9)


@pytest.fixture
def clock() -> Clock:
    return Clock()


SEEN = """
    async def data(ctx):
        return ctx.socket.data

    async def event(ctx):
        return ctx.event
"""


@pytest.fixture
def seen() -> dict[str, Any]:
    """Routes that tell what a built-in has left behind."""
    return {"routes": {"data": "seen.data", "*": "seen.event"}, "plugins": {"seen": SEEN}}
