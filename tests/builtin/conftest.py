from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import time
from typing import Any

import pytest

from gateway.builtin import _stays
from gateway.compiler import load
from gateway.errors import ConfigError
from gateway.testing import TestGateway
from tests.deadline import until
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


class Wall:
    """The clock on the wall, `ahead` of the right time by some seconds."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self._reads = 0

    def __call__(self) -> float:
        self._reads += 1
        return time() + self.ahead

    async def looked_at(self) -> None:
        """Wait until it has been read five times."""
        reads = self._reads
        await until(lambda: self._reads >= reads + 5)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wall]:
    """The clock of sockets that a token has let in; they read it every 10 ms."""
    clock = Wall()
    monkeypatch.setattr(_stays, "time", clock)
    monkeypatch.setattr(_stays, "LONGEST", 0.01)
    monkeypatch.setattr(_stays, "SOON", 0.01)
    yield clock
    assert _stays._STAYS == {}


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
