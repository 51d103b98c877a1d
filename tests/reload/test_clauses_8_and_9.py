"""The reload contract of design section 5, clause by clause: 8 and 9."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from gateway.daemon import shutdown
from tests.deadline import deadline
from tests.reload.calling_client import caller
from tests.reload.edited_daemon import until
from tests.reload.plugin_gates import Stage
from tests.serving_metrics import metrics_of

# 8. Sockets are closed only when the new config says so, spread over a window, counted.


DOOR = """
import asyncio
from tests.reload.plugin_gates import stage

VERSION = "{0}"

async def door(ctx, next):
    try:
        await next()
    finally:
        stage.seen.append(f"{{VERSION}} unwinds")

async def disconnecting(ctx):
    stage.seen.append(f"{{VERSION}} {{ctx.args[0]}}, rooms: {{len(ctx.socket.rooms)}}")

async def left(ctx):
    stage.seen.append(f"{{VERSION}} left, rooms: {{len(ctx.socket.rooms)}}")
    stage.seen.append(asyncio.get_running_loop().time())

async def say(ctx): return VERSION
"""
TWO = """
reload: {watch: "off", close_window: 200ms, drain: 10ms}
namespaces:
  /:
    connection_middleware: [door]
    routes: {say: door.say}
  /going:
    routes: {say: door.say, disconnecting: door.disconnecting, disconnect: door.left}
"""
ONE = TWO[: TWO.index("  /going:")]


@pytest.mark.parametrize("has_chain", [True, False])
async def test_clause_8_sockets_of_a_removed_namespace_are_seen_off_by_their_own_code(
    gateway, stage: Stage, has_chain: bool
) -> None:
    config = TWO + "    connection_middleware: [door]\n" * has_chain
    async with (
        gateway(config, door=DOOR.format("old")) as one,
        caller(one.url) as staying,
        caller(one.url, "/going") as going,
    ):
        one.config(ONE)
        one.plugin("door", DOOR.format("new"))
        verdict = await one.reload()
        assert verdict.plan.removed == ("/going",)
        assert "- /going" in verdict.plan.changes
        async with deadline():
            await going.sent_away.wait()
        await until(lambda: one.live.alive.get(1, 0) <= 1)
        assert [each for each in stage.seen if isinstance(each, str)] == [
            "old server namespace disconnect, rooms: 1",
            "old left, rooms: 0",
            *["old unwinds"] * has_chain,
        ]
        assert not going.lost.is_set()
        assert not staying.sent_away.is_set()
        assert await staying.call("say") == ["new"]
        metrics = metrics_of(one.serving)
        assert "sockgw_reload_closed_sockets_total 1.0" in metrics
    assert stage.seen[-1] == "old unwinds"


async def test_clause_8_closing_is_spread_over_the_window_whatever_the_drain(
    gateway, stage: Stage
) -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(gateway(TWO, door=DOOR.format("old")))
        going = [await stack.enter_async_context(caller(one.url, "/going")) for _ in range(5)]
        one.config(ONE)
        began = asyncio.get_running_loop().time()
        await one.reload()
        async with deadline():
            for each in going:
                await each.sent_away.wait()
        times = [each - began for each in stage.seen if isinstance(each, float)]
        assert len(times) == 5
        assert all(time > 0.035 * number for number, time in enumerate(times))


async def test_clause_8_a_namespace_that_comes_back_keeps_who_is_still_there(
    gateway, stage: Stage
) -> None:
    config = TWO.replace("200ms", "60s")
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(gateway(config, door=DOOR.format("old")))
        going = [await stack.enter_async_context(caller(one.url, "/going")) for _ in range(3)]
        one.config(ONE.replace("200ms", "60s"))
        await one.reload()
        async with deadline():
            await going[0].sent_away.wait()
        one.config(config)
        one.plugin("door", DOOR.format("new"))
        await one.reload()
        assert [await each.call("say") for each in going[1:]] == [["new"]] * 2
        await until(lambda: len(one.live.alive) == 1)


@pytest.mark.parametrize("routes", ["{}", "{routes: {say: door.say}}"])
async def test_clause_8_a_namespace_without_sockets_may_go(gateway, routes: str) -> None:
    config = 'reload: {watch: "off"}\nnamespaces:\n  /: {routes: {say: door.say}}\n'
    async with (
        gateway(f"{config}  /empty: {routes}\n", door=DOOR.format("old")) as one,
        caller(one.url) as client,
    ):
        one.config(config)
        assert (await one.reload()).plan.removed == ("/empty",)
        one.plugin("door", DOOR.format("new"))
        assert (await one.reload()).result == "applied"
        assert await client.call("say") == ["new"]


async def test_clause_8_nothing_else_closes_a_socket(gateway) -> None:
    """Routes, chains, services, limits and the listener may all change under open sockets."""
    async with (
        gateway(TWO + "server: {port: 0}\n", port=None, door=DOOR.format("one")) as one,
        caller(one.url) as first,
        caller(one.url, "/going") as second,
    ):
        config = TWO.replace("    routes:", "    packet_timeout: 3s\n    routes:")
        edits = [
            config.replace("[door]", "[]") + "server: {port: 0}\n",
            config.replace("say:", "tell:") + "server: {port: 0, max_payload: 2KB}\n",
            config + "server: {port: 0, host: localhost, ping_interval: 9s}\n",
            config + "services: {store: door.VERSION.upper}\nserver: {port: 0}\n",
            config + "  /more: {}\nserver: {port: 0, cors_origins: '*'}\n",
        ]
        for number, edit in enumerate(edits):
            one.config(edit)
            one.plugin("door", DOOR.format(number))
            verdict = await one.reload()
            assert verdict.plan.removed == ()
            event = "tell" if "tell:" in edit and verdict.result == "applied" else "say"
            if verdict.result == "applied":
                assert await first.call(event) == await second.call(event) == [str(number)]
        assert [verdict.result for verdict in one.verdicts].count("applied") == 4
        assert not first.lost.is_set()
        assert not second.lost.is_set()


# 9. Handlers of an old generation get a bounded time, then are cancelled and counted; clean-up
#    errors never block.


SLOW = """
from tests.reload.plugin_gates import stage

async def slow(ctx, how="well"):
    try:
        await stage.wait()
        return "old"
    finally:
        if how == "badly":
            raise OSError("clean-up failed")

async def say(ctx): return "{0}"
"""
SLOWLY = """
reload: {{watch: "off", drain: {0}}}
namespaces: {{/: {{order: {1}, routes: {{slow: chat.slow, say: chat.say}}}}}}
"""


@pytest.mark.parametrize("how", ["well", "badly"])
async def test_clause_9_a_late_packet_is_cancelled_counted_and_acked(
    gateway, stage: Stage, how: str
) -> None:
    config = SLOWLY.format("50ms", "concurrent")
    async with (
        gateway(config, chat=SLOW.format("one")) as one,
        caller(one.url) as client,
    ):
        late = client.begin("slow", how)
        await stage.waited_for()
        one.plugin("chat", SLOW.format("two"))
        await one.reload()
        async with deadline():
            [answer] = await late
        code = {"well": "cancelled", "badly": "internal"}[how]
        assert answer["error"]["code"] == code
        assert (await one.api.status())["outcomes"][code] == 1
        if how == "well":
            assert answer["error"]["message"] == "event 'slow' was cancelled by a reload"
        assert 'sockgw_cancelled_packets_total{by="reload"} 1.0' in metrics_of(one.serving)
        assert await client.call("say") == ["two"]
        assert list((await one.api.status())["generations"]) == [2]


async def test_clause_9_packets_that_queue_behind_a_late_one_are_acked_as_well(
    gateway, stage: Stage
) -> None:
    async with (
        gateway(SLOWLY.format("50ms", "serial"), chat=SLOW.format("one")) as one,
        caller(one.url) as client,
    ):
        calls = [client.begin("slow"), client.begin("say"), client.begin("say")]
        await stage.waited_for()
        one.plugin("chat", SLOW.format("two"))
        await one.reload()
        async with deadline():
            answers = [(await call)[0] for call in calls]
        assert [answer["error"]["code"] for answer in answers] == ["cancelled"] * 3
        assert await client.call("say") == ["two"]


async def test_clause_9_a_packet_that_ends_in_time_is_answered_by_its_own_code(
    gateway, stage: Stage
) -> None:
    async with (
        gateway(SLOWLY.format("60s", "concurrent"), chat=SLOW.format("one")) as one,
        caller(one.url) as client,
    ):
        early = client.begin("slow")
        await stage.waited_for()
        for word in ("two", "three"):
            one.plugin("chat", SLOW.format(word))
            await one.reload()
            assert await client.call("say") == [word]
        assert (await one.api.status())["generations"] == {1: 1, 3: 0}
        stage.go()
        assert await early == ["old"]
        assert (await one.api.status())["outcomes"]["cancelled"] == 0
        assert list((await one.api.status())["generations"]) == [3]


async def test_clause_9_packets_of_every_generation_are_answered_before_the_daemon_ends(
    gateway, stage: Stage
) -> None:
    async with (
        gateway(SLOWLY.format("60s", "concurrent"), chat=SLOW.format("one")) as one,
        caller(one.url) as client,
    ):
        calls = [client.begin("slow")]
        await stage.waited_for()
        one.plugin("chat", SLOW.format("two").replace('"old"', '"new"'))
        await one.reload()
        calls.append(client.begin("slow"))
        await until(lambda: dict(one.live.alive) == {1: 1, 2: 1})
        one.daemon.stop()
        await until(lambda: not one.api.ready)
        stage.go()
        assert [await call for call in calls] == [["old"], ["new"]]


async def test_clause_9_the_daemon_ends_though_packets_and_chains_do_not(
    gateway, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutdown, "CHAINS", 0.05)
    config = "server: {stop_timeout: 10ms}\n" + TWO.replace("say: door.say", "say: door.wait", 1)
    endless = """
        import asyncio
        async def door(ctx, next):
            await next()
            await asyncio.Event().wait()
        async def wait(ctx):
            from tests.reload.plugin_gates import stage
            await stage.wait()
        async def say(ctx): ...
        async def left(ctx): ...
        disconnecting = left
    """
    async with gateway(config, door=endless) as one, caller(one.url) as client:
        call = client.begin("say")
        await stage.waited_for()
        one.daemon.stop()
        async with deadline():
            [answer] = await call
            await client.lost.wait()
    message = "event 'say' was cancelled by a stop"
    assert answer == {"error": {"code": "cancelled", "message": message}}
    assert dict(one.live.alive) == {}
