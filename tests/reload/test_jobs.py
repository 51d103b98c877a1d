"""Jobs over reloads: who may go on in an old generation, what ends the others, and who is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from tests.deadline import deadline
from tests.js_client import JsDriver
from tests.reload.calling_client import Caller, caller
from tests.reload.edited_daemon import Running, until
from tests.reload.plugin_gates import Stage
from tests.serving_metrics import metrics_of

CONFIG = """
server: {stop_timeout: 1ms}
reload: {watch: "off", drain: 1ms}
services: {store: job.Store}
namespaces:
  /:
    packet_timeout: 1h
    routes:
      build: {use: job.build, timeout: 20m}
      queued: {use: job.queued, timeout: 20m, order: serial}
      endless: job.endless
      deaf: job.deaf
      kept: job.kept
      cancel: job.cancel
      watched: {use: job.endless, on_disconnect: cancel}
      say: job.say
"""

PLUGIN = """
import asyncio
from tests.reload.plugin_gates import stage

VERSION = "{0}"
tasks = []

class Store:
    open = True
    async def __aenter__(self): return self
    async def __aexit__(self, *_):
        self.open = False
        stage.seen.append(f"store {{VERSION}} closes")

async def build(ctx, *args):
    await stage.wait()
    return [VERSION, ctx.service.store.open]

async def queued(ctx, number):
    stage.seen.append(number)
    await stage.wait()
    return [VERSION, number]

async def endless(ctx):
    stage.seen.append("endless")
    await asyncio.Event().wait()

async def deaf(ctx):
    while True:
        try:
            return await stage.wait()
        except asyncio.CancelledError:
            stage.seen.append("goes on")

async def kept(ctx):
    tasks.append(asyncio.current_task())
    await asyncio.Event().wait()

async def cancel(ctx):
    tasks.pop().cancel()

async def say(ctx): return VERSION
"""


@asynccontextmanager
async def served(gateway: Any, config: str = CONFIG) -> AsyncIterator[tuple[Running, Caller]]:
    async with gateway(config, job=PLUGIN.format(0)) as one, caller(one.url) as client:
        yield one, client


async def save(one: Running, client: Caller, word: object) -> None:
    """Save another version, and wait until the drain of the former generation is over."""
    outcome = await begun(client, "endless")
    one.plugin("job", PLUGIN.format(word))
    assert (await one.reload()).result == "applied"
    assert await error_of(outcome) == ("cancelled", "event 'endless' was cancelled by a reload")


async def begun(client: Caller, event: str) -> asyncio.Task[list[Any]]:
    """A call whose handler has begun by the time this returns."""
    outcome = client.begin(event)
    await client.call("say")
    return outcome


async def error_of(call: asyncio.Task[list[Any]]) -> tuple[str, str]:
    async with deadline():
        [answer] = await call
    return answer["error"]["code"], answer["error"]["message"]


def cancelled(one: Running) -> dict[str, int]:
    """What was cancelled, by cause, as the metrics tell it."""
    found: dict[str, int] = {}
    for line in metrics_of(one.serving).splitlines():
        if line.startswith("sockgw_cancelled_packets_total{"):
            name, _, value = line.partition(" ")
            found[name.split('"')[1]] = int(float(value))
    return {by: count for by, count in found.items() if count}


async def test_a_job_with_a_timeout_of_its_own_survives_twenty_saves(gateway, stage: Stage) -> None:
    async with served(gateway) as (one, client):
        job = await begun(client, "build")
        for number in range(1, 21):
            await save(one, client, number)
            assert await client.call("say") == [str(number)]
            assert (await one.api.status())["generations"] == {1: 1, number + 1: 0}
        assert (await one.api.status())["services"] == ["store"]
        assert "store 0 closes" not in stage.seen
        stage.go()
        assert await job == [["0", True]]
        await until(lambda: "store 0 closes" in stage.seen)
        assert (await one.api.status())["generations"] == {21: 0}
        assert cancelled(one) == {"reload": 20}
        assert (await one.api.status())["outcomes"]["cancelled"] == 20
        assert (await one.api.status())["outcomes"]["timeout"] == 0


async def test_a_job_of_a_javascript_client_survives_saves(
    gateway, stage: Stage, js: JsDriver
) -> None:
    async with served(gateway) as (one, client):
        user = await js.connect(one.url)
        job = asyncio.create_task(user.call("build"))
        other = asyncio.create_task(user.call("endless"))
        await stage.waited_for()
        await until(lambda: "endless" in stage.seen)
        for number in range(1, 4):
            await save(one, client, number)
        message = "event 'endless' was cancelled by a reload"
        async with deadline():
            assert await other == [{"error": {"code": "cancelled", "message": message}}]
            stage.go()
            assert await job == [["0", True]]


async def test_it_ends_at_its_own_timeout_which_is_no_cancellation(gateway) -> None:
    async with served(gateway, CONFIG.replace("20m", "20ms")) as (one, client):
        job = client.begin("build")
        await save(one, client, 1)
        assert await error_of(job) == ("timeout", "event 'build' took too long")
        assert cancelled(one) == {"reload": 1}
        await until(lambda: len(one.live.alive) == 1)


async def test_status_tells_what_still_works_and_until_when(gateway, stage: Stage) -> None:
    async with served(gateway, CONFIG.replace("drain: 1ms", "drain: 30m")) as (one, client):
        assert (await one.api.status())["old_generations"] == []
        await begun(client, "build")
        one.plugin("job", PLUGIN.format(1))
        await one.reload()
        [old] = (await one.api.status())["old_generations"]
        end = old.pop("until") - time.time()
        assert 60 < end <= 1200
        assert old == {"generation": 1, "packets": 1, "chains": 0, "cancelled": 0}
        await begun(client, "endless")
        await begun(client, "deaf")
        one.plugin("job", PLUGIN.format(2))
        await one.reload()
        ends = [each["until"] - time.time() for each in (await one.api.status())["old_generations"]]
        assert ends[0] <= 1200 < ends[1] <= 1800
        stage.go()


async def test_those_that_wait_for_their_turn_have_their_own_time_too(
    gateway, stage: Stage
) -> None:
    async with served(gateway) as (one, client):
        jobs = [client.begin("queued", number) for number in range(3)]
        await stage.waited_for()
        await save(one, client, 1)
        [old] = (await one.api.status())["old_generations"]
        assert old["packets"] == 3
        assert stage.seen == [0, "endless"]
        stage.go()
        assert [await job for job in jobs] == [[["0", number]] for number in range(3)]


async def test_those_whose_turn_does_not_come_in_their_own_time_are_cancelled(
    gateway, stage: Stage
) -> None:
    config = """
        reload: {watch: "off", drain: 1ms}
        services: {store: job.Store}
        namespaces:
          /:
            order: serial
            routes:
              build: {use: job.build, timeout: 20m}
              queued: {use: job.queued, timeout: 20ms}
    """
    async with served(gateway, config) as (one, client):
        first, second = client.begin("build"), client.begin("queued", 0)
        await stage.waited_for()
        one.plugin("job", PLUGIN.format(1))
        await one.reload()
        assert await error_of(second) == ("cancelled", "event 'queued' was cancelled by a reload")
        assert [each["packets"] for each in (await one.api.status())["old_generations"]] == [1]
        stage.go()
        assert await first == [["0", True]]
        assert stage.seen[0] != 0


async def test_without_an_ack_a_cancelled_event_is_an_error_event(gateway, stage: Stage) -> None:
    async with served(gateway) as (one, client):
        await client.emit("endless")
        await until(lambda: stage.seen)
        one.plugin("job", PLUGIN.format(1))
        await one.reload()
        error = {"code": "cancelled", "message": "event 'endless' was cancelled by a reload"}
        assert await client.event() == ["error", {"error": error, "event": "endless"}]


async def test_a_plugin_that_cancels_a_packet_is_named(gateway) -> None:
    async with served(gateway) as (one, client):
        kept = await begun(client, "kept")
        assert await client.call("cancel") == []
        assert await error_of(kept) == ("cancelled", "event 'kept' was cancelled by a plugin")
        assert cancelled(one) == {"plugin": 1}
        assert (await one.api.status())["outcomes"]["cancelled"] == 1


async def test_a_packet_whose_client_left_is_counted_and_has_no_outcome(gateway) -> None:
    async with served(gateway) as (one, client):
        async with caller(one.url) as leaving:
            await begun(leaving, "watched")
            await begun(client, "endless")
        await until(lambda: cancelled(one) == {"disconnect": 1})
        await until(lambda: one.live.packets == 1)
        assert (await one.api.status())["outcomes"]["cancelled"] == 0


@pytest.mark.parametrize("how", ["reload", "stop"])
async def test_one_that_goes_on_though_it_was_cancelled_is_answered_once(
    gateway, stage: Stage, caplog, how: str
) -> None:
    async with served(gateway) as (one, client):
        deaf = await begun(client, "deaf")
        if how == "reload":
            one.plugin("job", PLUGIN.format(1))
            await one.reload()
        else:
            one.daemon.stop()
        text = f"event 'deaf' was cancelled by a {how}"
        assert await error_of(deaf) == ("cancelled", text)
        assert f"event 'deaf' goes on after a {how}: its handler cannot be cancelled" in caplog.text
        outcomes = dict((await one.api.status())["outcomes"])
        assert outcomes["cancelled"] == 1
        if how == "reload":
            [old] = (await one.api.status())["old_generations"]
            assert (old["packets"], old["cancelled"], old["until"]) == (1, 1, None)
        stage.go()
        await until(lambda: one.live.packets == 0)
        assert (await one.api.status())["outcomes"] == outcomes


async def test_a_middleware_without_a_route_that_goes_on_is_answered_once(
    gateway, stage: Stage
) -> None:
    config = """
        reload: {watch: "off", drain: 1ms}
        namespaces: {/: {packet_middleware: [job.deaf]}}
    """
    deaf = """
        import asyncio
        from tests.reload.plugin_gates import stage

        async def deaf(ctx, next):
            try:
                await stage.wait()
            except asyncio.CancelledError:
                await stage.wait()
            await next()
    """
    async with gateway(config, job=deaf) as one, caller(one.url) as client:
        call = client.begin("nothing")
        await stage.waited_for()
        one.plugin("job", deaf + "\n")
        await one.reload()
        assert await error_of(call) == ("cancelled", "event 'nothing' was cancelled by a reload")
        outcomes = dict((await one.api.status())["outcomes"])
        stage.go()
        await until(lambda: one.live.packets == 0)
        assert (await one.api.status())["outcomes"] == outcomes


async def test_a_stop_has_a_time_of_its_own_which_a_reload_changes(gateway, stage: Stage) -> None:
    now = CONFIG.replace("drain: 1ms", "drain: 1h")
    config = now.replace("stop_timeout: 1ms", "stop_timeout: 1h")
    async with served(gateway, config) as (one, client):
        calls = [await begun(client, event) for event in ("build", "endless")]
        one.config(now)
        assert (await one.reload()).plan.changes == ("~ server.stop_timeout: 1h -> 1ms",)
        one.daemon.stop()
        for call, event in zip(calls, ("build", "endless"), strict=True):
            text = f"event '{event}' was cancelled by a stop"
            assert await error_of(call) == ("cancelled", text)
        assert cancelled(one) == {"stop": 2}


EVENTS = """
import asyncio
from tests.reload.plugin_gates import stage

async def door(ctx, next):
    await next()
    stage.seen.append("unwound")

async def wait(ctx, *args):
    try:
        stage.seen.append(ctx.event)
        await stage.wait()
        stage.seen.append(f"{ctx.event} done")
    except asyncio.CancelledError:
        stage.seen.append(f"{ctx.event} cancelled")
        raise
"""
EVENTFUL = """
reload: {watch: "off", drain: 1ms}
namespaces:
  /chat:
    connection_middleware: [job.door]
    packet_timeout: 1h
    routes: {ROUTE}
"""


@pytest.mark.parametrize("event", ["connect", "disconnecting", "disconnect"])
@pytest.mark.parametrize("has_own", [True, False], ids=["own-timeout", "none"])
async def test_gateway_events_are_cancelled_unless_their_routes_have_timeouts(
    gateway, stage: Stage, event: str, has_own: bool
) -> None:
    own = ", timeout: 20m" if has_own else ""
    config = EVENTFUL.replace("ROUTE", f"{event}: {{use: job.wait{own}}}")
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(gateway(config, job=EVENTS))
        client = await stack.enter_async_context(caller(one.url, "/chat"))
        if event != "connect":
            await client.leave()
        await stage.waited_for()
        for number in range(2):
            one.plugin("job", EVENTS + f"# {number}\n")
            await one.reload()
        if has_own:
            [old] = (await one.api.status())["old_generations"]
            assert 60 < old["until"] - time.time() <= 1200
            stage.go()
        await until(lambda: len(stage.seen) > 1)
        assert stage.seen[:2] == [event, f"{event} {'done' if has_own else 'cancelled'}"]
        if event != "connect":
            await until(lambda: stage.seen[2:] == ["unwound"])
            assert one.serving.sockets.hub.rooms.counts["/chat"] == 0
            await until(lambda: len(one.live.alive) == 1)
        assert cancelled(one) == ({} if has_own else {"reload": 1})
