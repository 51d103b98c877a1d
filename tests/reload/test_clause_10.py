"""The reload contract of design section 5: clause 10.

After N reloads at most live + still-used generations exist, and memory is back at its base.
"""

from __future__ import annotations

import gc
import sys
from contextlib import AsyncExitStack
from types import ModuleType

import pytest

from gateway.compiler import Build
from gateway.runtime.blueprint import Generation
from tests.deadline import deadline
from tests.reload.calling_client import caller
from tests.reload.edited_daemon import Running, until
from tests.reload.plugin_gates import Stage

PLUGIN = """
from __future__ import annotations
from dataclasses import dataclass
from typing import Optional
from . import _helper

@dataclass
class Message:
    text: str
    next: Message | None = None

class Limit:
    def __init__(self, rate: int = 1): self.seen: Optional[Message] = None
    async def __call__(self, ctx, next): await next()

class Store:
    data = bytes(20_000)
    async def __aenter__(self): return self
    async def __aexit__(self, *_): pass

async def door(ctx, next): await next()
async def say(ctx): return {0}
"""
EVERYTHING = """
reload: {watch: "off"}
services: {store: chat.Store}
namespaces:
  /: {packet_middleware: [{use: chat.Limit, with: {rate: 3}}], routes: {say: chat.say}}
  /chained: {connection_middleware: [chat.door], routes: {say: chat.say}}
"""


def alive(one: Running) -> list[int]:
    """How many generations, builds and plugin modules of this gateway are in memory.

    Of this one only: aiohttp remembers applications with middleware, and so their daemons.
    """
    gc.collect()
    found = gc.get_objects()
    here = str(one.folder)
    generations = [each for each in found if type(each) is Generation]
    places = [each.blueprint.namespaces["/"].routes["say"].place for each in generations]
    builds = [each for each in found if type(each) is Build]
    modules = [each for each in found if type(each) is ModuleType]
    return [
        sum(place.file.startswith(here) for place in places if place),
        sum(str(build.config.file).startswith(here) for build in builds),
        sum(str(getattr(each, "__file__", "")) == f"{here}/plugins/chat.py" for each in modules),
    ]


def objects() -> int:
    gc.collect()
    return len(gc.get_objects())


async def test_clause_10_generations_and_memory_are_back_at_their_base(
    gateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "sockgw.reload")  # a record is an object, too
    async with (
        gateway(EVERYTHING, chat=PLUGIN.format(0), _helper="") as one,
        caller(one.url) as client,
    ):

        async def rounds(numbers: range) -> None:
            for number in numbers:
                one.plugin("chat", PLUGIN.format(number))
                assert (await one.reload()).result == "applied"
                assert await client.call("say") == [number]
                assert len(one.live.alive) <= 2
                if number % 20 == 0:
                    async with caller(one.url, "/chained") as chained:
                        assert await chained.call("say") == [number]
            one.verdicts.clear()

        await rounds(range(1, 40))
        base, blocks = objects(), sys.getallocatedblocks()
        await rounds(range(40, 400))
        # The loop keeps up to a hundred cancelled timers, so less than that says nothing.
        assert objects() < base + 360, "at least one object is left of every reload"
        assert sys.getallocatedblocks() < blocks * 1.05
        assert alive(one) == [1, 1, 1]
        assert (await one.api.status())["generation"] == 400


async def test_clause_10_open_sockets_keep_only_what_they_use(gateway) -> None:
    """A connection chain keeps its generation; a socket without one keeps none."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(
            gateway(EVERYTHING, chat=PLUGIN.format(0), _helper="")
        )
        clients = []
        for number in range(1, 10):
            clients.append(await stack.enter_async_context(caller(one.url)))
            one.plugin("chat", PLUGIN.format(number))
            await one.reload()
        chained = await stack.enter_async_context(caller(one.url, "/chained"))
        for number in range(10, 20):
            one.plugin("chat", PLUGIN.format(number))
            await one.reload()
        assert (await one.api.status())["generations"] == {10: 1, 20: 0}
        assert alive(one) == [2, 1, 2]
        for client in (*clients, chained):
            assert await client.call("say") == [19]


async def test_clause_10_a_long_job_keeps_its_own_generation_alone(gateway, stage: Stage) -> None:
    job = """
from tests.reload.plugin_gates import stage

async def build(ctx):
    await stage.wait()
    return {0}
"""
    config = EVERYTHING.replace('"off"', '"off", drain: 1ms')
    build = "{build: {use: chat.build, timeout: 1h}}"
    config += f"  /jobs: {{connection_middleware: [chat.door], routes: {build}}}\n"
    async with (
        gateway(config, chat=PLUGIN.format(0) + job.format(0), _helper="") as one,
        caller(one.url, "/jobs") as client,
    ):
        running = client.begin("build")
        await stage.waited_for()
        for number in range(1, 100):
            one.plugin("chat", PLUGIN.format(number) + job.format(number))
            await one.reload()
        assert (await one.api.status())["generations"] == {1: 2, 100: 0}
        assert alive(one) == [2, 1, 2]
        stage.go()
        assert await running == [0]
        await client.leave()
        await until(lambda: alive(one) == [1, 1, 1])


async def test_clause_10_failed_reloads_leave_nothing_behind(gateway) -> None:
    async with gateway(EVERYTHING, chat=PLUGIN.format(0), _helper="") as one:
        for number in range(30):
            one.plugin("chat", PLUGIN.format(number) + "\nprint(nothing)" * (number % 2))
            one.config(EVERYTHING.replace("chat.say", "chat.sya") if number % 3 else EVERYTHING)
            await one.reload()
        results = [verdict.result for verdict in one.verdicts]
        assert results.count("failed") == 25
        assert (await one.api.status())["generation"] == 1 + results.count("applied")
        assert alive(one) == [1, 1, 1]


async def test_clause_10_a_namespace_that_came_back_keeps_no_former_generation(gateway) -> None:
    config = EVERYTHING.replace('"off"', '"off", close_window: 60s')
    without = config[: config.index("  /chained")]
    config += "  /going: {routes: {say: chat.say}}\n"
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(gateway(config, chat=PLUGIN.format(0), _helper=""))
        going = [await stack.enter_async_context(caller(one.url, "/going")) for _ in range(2)]
        for number, text in enumerate((without, config), 1):
            one.config(text)
            one.plugin("chat", PLUGIN.format(number))
            await one.reload()
            if text is without:
                async with deadline():
                    await going[0].sent_away.wait()
        assert await going[1].call("say") == [2]
        await until(lambda: len(one.live.alive) == 1)
        assert alive(one) == [1, 1, 1]
