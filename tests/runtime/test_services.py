"""Services: started before anything is served, shared by all, ended in reverse."""

from __future__ import annotations

import pytest

from gateway import ConfigError

CONFIG = """
services:
  first: plugin.first
  second: plugin.second
namespaces:
  /:
    routes:
      seen: plugin.seen
"""

PLUGIN = """
import asyncio
from contextlib import asynccontextmanager

seen_so_far = []

@asynccontextmanager
async def service(name):
    task = asyncio.current_task()
    seen_so_far.append(f"{name} up")
    yield name
    seen_so_far.append(f"{name} down")
    assert asyncio.current_task() is task

def first():
    return service("first")

def second():
    return service("second")

async def seen(ctx):
    return [list(seen_so_far), ctx.service.first]
"""


async def test_services_are_entered_in_order_before_the_first_client(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        client = await gateway.connect()
        assert await client.call("seen") == [[["first up", "second up"], "first"]]


async def test_services_are_left_in_reverse_order_in_the_task_that_entered_them(scenario, caplog):
    plugin = PLUGIN.replace("seen_so_far.append", "logging.error").replace(
        "import asyncio\n", "import asyncio\nimport logging\n", 1
    )
    async with scenario(CONFIG, plugin=plugin):
        pass
    assert [record.message for record in caplog.records] == [
        "first up",
        "second up",
        "second down",
        "first down",
    ]


async def test_a_service_that_asks_for_the_gateway_can_emit_from_its_own_task(scenario):
    config = """
        services:
          clock: {use: plugin.Clock, with: {word: tick}}
        namespaces:
          /:
            routes: {go: plugin.go}
    """
    plugin = """
        import asyncio

        class Clock:
            def __init__(self, gateway, word: str):
                self.gateway, self.word = gateway, word
                self.go = asyncio.Event()

            async def __aenter__(self):
                self.task = asyncio.create_task(self.run())
                return self

            async def __aexit__(self, *_):
                self.task.cancel()

            async def run(self):
                await self.go.wait()
                await self.gateway.of("/").emit(self.word)

        async def go(ctx):
            ctx.service.clock.go.set()
    """
    async with scenario(config, plugin=plugin) as gateway:
        client = await gateway.connect()
        await client.emit("go")
        assert (await client.receive()).name == "tick"


@pytest.mark.parametrize(("when", "line"), [("made", "19:5"), ("entered", "21:9")])
async def test_a_service_that_fails_to_start_is_a_problem_at_its_line(
    scenario, caplog, tmp_path, when, line
):
    failing = {
        "made": "def second():\n    raise OSError('no route to host')",
        "entered": """
class second:
    async def __aenter__(self):
        raise OSError('no route to host')
    async def __aexit__(self, *_):
        pass
""",
    }[when]
    plugin = PLUGIN.replace('def second():\n    return service("second")', failing)
    plugin = plugin.replace("seen_so_far.append", "__import__('logging').error")
    with pytest.raises(ConfigError) as refused:
        async with scenario(CONFIG, plugin=plugin):
            pass
    [problem] = refused.value.problems
    assert (problem.place.line, problem.path) == (4, "services.second")
    plugin_line = f"{tmp_path}/plugins/plugin.py:{line}"
    assert problem.message == (
        f"the service did not start: OSError: no route to host ({plugin_line})"
    )
    assert [record.message for record in caplog.records] == ["first up", "first down"]


async def test_an_unknown_service_is_named_with_those_that_exist(scenario, caplog):
    plugin = PLUGIN.replace("ctx.service.first", "ctx.service.frist")
    async with scenario(CONFIG, plugin=plugin) as gateway:
        client = await gateway.connect()
        assert (await client.call("seen"))[0]["error"]["code"] == "internal"
    assert "no service 'frist'; services: first, second" in caplog.text
