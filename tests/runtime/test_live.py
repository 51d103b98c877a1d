"""The live cell: what serves, what is still used, and what is let go."""

from __future__ import annotations

import asyncio
from types import MappingProxyType

import pytest

from gateway.api import Gateway
from gateway.runtime.blueprint import Blueprint, Generation, NamespaceBlueprint
from gateway.runtime.live import Live

GATEWAY = Gateway(None)  # type: ignore[arg-type]


def blueprint(*names: str) -> Blueprint:
    namespaces: dict[str, NamespaceBlueprint] = dict.fromkeys(names)  # type: ignore[arg-type]
    empty: MappingProxyType[str, object] = MappingProxyType({})
    return Blueprint("", namespaces, {}, empty, lambda: lambda: None)  # type: ignore[arg-type]


@pytest.fixture
def live() -> Live:
    return Live()


async def serve(live: Live, *names: str) -> Generation:
    generation = await live.start(blueprint(*names), GATEWAY)
    live.swap(generation)
    return generation


async def test_sockets_of_a_removed_namespace_find_the_last_generation_that_had_it(
    live: Live,
) -> None:
    gate = asyncio.Event()

    async def wait() -> None:
        await gate.wait()

    kinds: list[list[str]] = [["/a"], ["/a"], ["/b"], []]
    tasks = [live.pin(await serve(live, *names), wait()) for names in kinds]
    assert live.last_with("/a").number == 2
    assert live.last_with("/b").number == 3
    with pytest.raises(LookupError):
        live.last_with("/c")
    gate.set()
    await asyncio.wait(tasks)
    with pytest.raises(LookupError):
        live.last_with("/a")


async def test_numbers_count_what_was_started_only(live: Live) -> None:
    def fail() -> object:
        raise OSError

    assert (await serve(live, "/")).number == 1
    broken = blueprint("/")
    object.__setattr__(broken, "install", fail)
    with pytest.raises(OSError):  # noqa: PT011
        await live.start(broken, GATEWAY)
    assert (await serve(live, "/")).number == 2
    assert dict(live.alive) == {2: 0}
