"""What factories made lives as long as what it was made from; the new comes before the old goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.reload.calling_client import caller
from tests.reload.edited_daemon import Running, until
from tests.reload.plugin_gates import Stage

CONFIG = """
reload: {watch: "off"}
services:
  store: {use: store.Store, with: {size: 1}}
namespaces:
  /:
    connection_middleware: [chat.door]
    routes: {say: chat.say, wait: chat.wait}
  /plain:
    routes: {say: chat.say}
"""

STORE = """
import asyncio
from tests.reload.plugin_gates import stage
from .helper import WORD

class Store:
    made = 0

    def __init__(self, size: int):
        self.word = f"{WORD}{size}"
        self.count = 0

    async def __aenter__(self):
        self.task = asyncio.current_task()
        stage.seen.append(f"+{self.word}")
        return self

    async def __aexit__(self, *_):
        assert asyncio.current_task() is self.task
        stage.seen.append(f"-{self.word}")
"""

HELPER = "from ._deeper import WORD\n"

CHAT = """
from tests.reload.plugin_gates import stage

async def door(ctx, next):
    store = ctx.service.store
    await next()
    stage.seen.append(f"{store.word} {ctx.service.store is store} out")

async def say(ctx):
    ctx.service.store.count += 1
    return [ctx.service.store.word, ctx.service.store.count]

async def wait(ctx):
    store = ctx.service.store
    await stage.wait()
    return [store.word, ctx.service.store is store, stage.seen]
"""

FILES = {"store": STORE, "helper": HELPER, "_deeper": "WORD = 'a'\n", "chat": CHAT}


async def test_unrelated_edits_keep_one_instance(gateway, stage: Stage) -> None:
    async with gateway(CONFIG, **FILES) as one, caller(one.url, "/plain") as client:
        for number in range(1, 101):
            if number % 2:
                one.plugin("chat", f"{CHAT}\n# {number}\n")
            else:
                one.config(CONFIG + f"  /{number}: {{}}\n")
            assert (await one.reload()).result == "applied"
            assert await client.call("say") == [["a1", number]]
        assert stage.seen == ["+a1"]
        assert (await one.api.status())["generation"] == 101
    assert stage.seen == ["+a1", "-a1"]


CHANGES: dict[str, Callable[[Running], object]] = {
    "its options": lambda one: one.config(CONFIG.replace("size: 1", "size: 2")),
    "its file": lambda one: one.plugin("store", STORE.replace("{WORD}{size}", "{WORD}2")),
    "a helper": lambda one: one.plugin("helper", HELPER + "WORD = 'a2'[:1]  # as before\n"),
    "a helper two imports away": lambda one: one.plugin("_deeper", "WORD = 'b'\n"),
    "its name": lambda one: (
        one.config(CONFIG.replace("store:", "shop:")),
        one.plugin("chat", CHAT.replace("service.store", "service.shop")),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_service_is_new_when_what_it_is_made_from_is(
    gateway, stage: Stage, change: str
) -> None:
    async with gateway(CONFIG, **FILES) as one, caller(one.url, "/plain") as client:
        assert await client.call("say") == [["a1", 1]]
        CHANGES[change](one)
        assert (await one.reload()).result == "applied"
        [[word, count]] = await client.call("say")
        assert count == 1
        assert stage.seen[:2] == ["+a1", f"+{word}"], "the new one starts before the old one ends"
        await until(lambda: len(stage.seen) == 3)
        assert stage.seen[2] == "-a1"


async def test_the_old_one_ends_with_its_last_packet(gateway, stage: Stage) -> None:
    async with gateway(CONFIG, **FILES) as one, caller(one.url, "/") as client:
        await client.leave()
    stage.seen.clear()
    async with gateway(CONFIG, **FILES) as one:
        one.config(CONFIG.replace("[chat.door]", "[]"))
        await one.reload()
        async with caller(one.url) as client:
            in_flight = client.begin("wait")
            await stage.waited_for()
            one.config(CONFIG.replace("[chat.door]", "[]").replace("size: 1", "size: 2"))
            await one.reload()
            stage.go()
            assert await in_flight == [["a1", True, ["+a1", "+a2"]]]
            await until(lambda: len(stage.seen) == 3)
    assert stage.seen == ["+a1", "+a2", "-a1", "-a2"]


async def test_the_old_one_ends_with_the_last_socket_whose_chain_uses_it(
    gateway, stage: Stage
) -> None:
    async with gateway(CONFIG, **FILES) as one:
        async with caller(one.url) as client:
            for size in (2, 3):
                one.config(CONFIG.replace("size: 1", f"size: {size}"))
                await one.reload()
                assert await client.call("say") == [[f"a{size}", 1]]
            await until(lambda: "-a2" in stage.seen)
            assert stage.seen == ["+a1", "+a2", "+a3", "-a2"]
        await until(lambda: "-a1" in stage.seen)
        assert stage.seen[4:] == ["a1 True out", "-a1"]


async def test_a_service_that_comes_back_while_the_old_one_lives_is_the_old_one(
    gateway, stage: Stage
) -> None:
    async with gateway(CONFIG, **FILES) as one, caller(one.url) as client:
        await client.call("say")
        for size in (2, 1):
            one.config(CONFIG.replace("size: 1", f"size: {size}"))
            await one.reload()
        assert await client.call("say") == [["a1", 2]]


TWO = """
reload: {watch: "off"}
services: {first: services.first, second: services.second}
namespaces: {/: {routes: {say: services.say}}}
"""

SERVICES = """
import asyncio
from contextlib import asynccontextmanager
from tests.reload.plugin_gates import stage

@asynccontextmanager
async def service(name):
    task = asyncio.current_task()
    stage.seen.append(f"{{name}} up")
    {0}
    yield name
    assert asyncio.current_task() is task
    stage.seen.append(f"{{name}} down")
    {1}

def first(): return service("first {2}")
def second(): return service("second {2}")
async def say(ctx): return [ctx.service.first, ctx.service.second]
"""


async def test_a_failing_start_gives_back_the_others_and_the_old_ones_go_on(
    gateway, stage: Stage
) -> None:
    async with gateway(TWO, services=SERVICES.format("", "", "old")) as one:
        fail = 'if "second" in name: raise OSError("no route to host")'
        for _ in range(2):
            one.plugin("services", SERVICES.format(fail, "", "new"))
            verdict = await one.reload()
            [problem] = verdict.problems
            assert str(problem) == (
                f"{one.file}:3:43: services.second: the service did not start: "
                f"OSError: no route to host ({one.folder}/plugins/services.py:10:26)"
            )
            assert stage.seen[2:] == ["first new up", "second new up", "first new down"]
            assert await one.said() == ["first old", "second old"]
            del stage.seen[2:]
        one.plugin("services", SERVICES.format("", "", "mended"))
        assert (await one.reload()).generation == 2
        assert await one.said() == ["first mended", "second mended"]


async def test_old_services_end_in_reverse_order_and_their_faults_are_told(
    gateway, stage: Stage, caplog
) -> None:
    fail = "raise OSError('cannot close')"
    async with gateway(TWO, services=SERVICES.format("", fail, "old")) as one:
        one.plugin("services", SERVICES.format("", "", "new"))
        assert (await one.reload()).result == "applied"
        await until(lambda: "first old down" in stage.seen)
        assert stage.seen[4:] == ["second old down", "first old down"]
        assert caplog.messages.count("service first old failed while it closed") == 0
        assert caplog.messages.count("service first failed while it closed") == 1
        assert await one.said() == ["first new", "second new"]


async def test_a_stop_while_a_service_starts_ends_what_was_started(gateway, stage: Stage) -> None:
    wait = 'if "second new" in name: await stage.wait()'
    async with gateway(TWO, services=SERVICES.format("", "", "old")) as one:
        one.plugin("services", SERVICES.format(wait, "", "new"))
        reload = asyncio.create_task(one.reload())
        await stage.waited_for()
    assert sorted(stage.seen) == sorted(
        [f"{name} {age} up" for age in ("old", "new") for name in ("first", "second")]
        + ["first new down", "first old down", "second old down"]
    )
    assert str((await reload).problems[0]).endswith("the gateway is stopping")


# Instances of middleware and handlers


LIMIT = """
class Limit(dict):
    def __init__(self, rate: int):
        self.rate, self.seen = rate, 0
    async def __call__(self, ctx, next):
        self.seen += 1
        await next()
        ctx.reply = [self.rate, self.seen, ctx.reply]

class Counter:
    def __init__(self): self.calls = 0
    async def count(self, ctx):
        self.calls += 1
        return self.calls
"""
LIMITED = """
reload: {watch: "off"}
namespaces:
  /:
    packet_middleware: [{use: limit.Limit, with: {rate: 3}}]
    routes: {say: limit.Counter.count, also: limit.Counter.count}
"""


async def test_buckets_of_a_rate_limiter_are_carried_over(gateway) -> None:
    """Of one that counts as false, as well: it is a dict, and empty."""
    async with gateway(LIMITED, limit=LIMIT, other="") as one, caller(one.url) as client:
        assert await client.call("say") == [[3, 1, 1]]
        one.plugin("other", "x = 1")
        one.config(LIMITED + "  /more: {packet_middleware: [{use: limit.Limit, with: {rate: 3}}]}")
        await one.reload()
        assert await client.call("also") == [[3, 2, 2]]
        one.config(LIMITED.replace("rate: 3", "rate: 4"))
        await one.reload()
        assert await client.call("say") == [[4, 1, 3]]
        one.plugin("limit", LIMIT + "# edited\n")
        await one.reload()
        assert await client.call("say") == [[4, 1, 1]]
