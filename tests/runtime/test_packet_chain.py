"""Packet chains and acks, as a client sees them (docs/semantics.md, "Packets")."""

from __future__ import annotations

import pytest

BARE = """
namespaces:
  /:
    routes:
      go: plugin.go
"""

GUARDED = """
namespaces:
  /:
    packet_middleware: [guard]
    routes:
      go: plugin.go
"""

ECHO = """
async def go(ctx, *args):
    return args
"""


def error(code: str, message: str) -> list[object]:
    return [{"error": {"code": code, "message": message}}]


@pytest.mark.parametrize(
    ("returned", "ack"),
    [
        ("None", []),
        ("'one'", ["one"]),
        ("(1, 2)", [1, 2]),
        ("()", []),
        ("[1, 2]", [[1, 2]]),
        ("0", [0]),
        ("False", [False]),
        ("{'raw': b'\\x00\\xff'}", [{"raw": b"\x00\xff"}]),
    ],
)
async def test_the_ack_is_what_the_handler_returns(scenario, returned, ack):
    async with scenario(BARE, plugin=f"async def go(ctx):\n    return {returned}") as gateway:
        client = await gateway.connect()
        assert await client.call("go") == ack


async def test_arguments_come_as_parameters_and_in_the_context(scenario):
    plugin = """
        async def go(ctx, first, *rest):
            return [ctx.event, ctx.args, ctx.packet, first, list(rest)]
    """
    async with scenario(BARE, plugin=plugin) as gateway:
        client = await gateway.connect()
        assert await client.call("go", 1, b"\x01", None) == [
            ["go", [1, b"\x01", None], ["go", 1, b"\x01", None], 1, [b"\x01", None]]
        ]


async def test_a_handler_with_the_context_alone_takes_any_arguments(scenario):
    plugin = "async def go(ctx):\n    return len(ctx.args)"
    async with scenario(BARE, plugin=plugin) as gateway:
        client = await gateway.connect()
        assert await client.call("go", 1, 2, 3) == [3]


async def test_wrong_arguments_are_the_clients_mistake(scenario, caplog):
    plugin = "async def go(ctx, text: str, times: int = 1):\n    return text * times"
    async with scenario(BARE, plugin=plugin) as gateway:
        client = await gateway.connect()
        assert await client.call("go", "ab", 2) == ["abab"]
        for args in [(), (1,), ("ab", "2"), ("ab", 1, 2)]:
            [answer] = await client.call("go", *args)
            assert answer["error"]["code"] == "bad_request", args
    assert caplog.text == ""


async def test_middleware_sees_the_reply_and_may_change_it(scenario):
    guard = """
        async def guard(ctx, next):
            ctx.state["seen"] = ctx.event
            await next()
            ctx.reply = {"was": ctx.reply, "seen": ctx.state["seen"]}
    """
    async with scenario(GUARDED, guard=guard, plugin="async def go(ctx): return 1") as gateway:
        client = await gateway.connect()
        assert await client.call("go") == [{"was": 1, "seen": "go"}]


async def test_every_packet_has_a_context_of_its_own(scenario):
    guard = """
        async def guard(ctx, next):
            ctx.state["count"] = ctx.state.get("count", 0) + 1
            await next()
    """
    plugin = "async def go(ctx): return ctx.state['count']"
    async with scenario(GUARDED, guard=guard, plugin=plugin) as gateway:
        client = await gateway.connect()
        assert [await client.call("go") for _ in range(3)] == [[1], [1], [1]]


async def test_a_middleware_that_returns_without_next_drops_the_packet(scenario):
    guard = "async def guard(ctx, next): pass"
    async with scenario(GUARDED, guard=guard, plugin=ECHO) as gateway:
        client = await gateway.connect()
        assert await client.call("go") == error("dropped", "event 'go' was dropped")


async def test_a_reply_set_without_next_is_the_answer(scenario):
    guard = "async def guard(ctx, next): ctx.reply = 'from the cache'"
    async with scenario(GUARDED, guard=guard, plugin=ECHO) as gateway:
        client = await gateway.connect()
        assert await client.call("go") == ["from the cache"]


async def test_an_unrouted_event_passes_the_chain_and_the_ack_says_so(scenario):
    guard = """
        async def guard(ctx, next):
            await next()
            await ctx.socket.emit("passed", ctx.event)
    """
    async with scenario(GUARDED, guard=guard, plugin=ECHO) as gateway:
        client = await gateway.connect()
        assert await client.call("nope") == error("unknown_event", "no route for event 'nope'")
        assert (await client.receive("passed")).args == ["nope"]


async def test_the_star_route_takes_every_event_without_a_route(scenario):
    config = """
        namespaces:
          /:
            routes:
              go: plugin.go
              "*": plugin.other
    """
    plugin = """
        async def go(ctx): return "go"
        async def other(ctx): return "other " + ctx.event
    """
    async with scenario(config, plugin=plugin) as gateway:
        client = await gateway.connect()
        assert await client.call("go") == ["go"]
        assert await client.call("nope") == ["other nope"]
        assert await client.call("*") == ["other *"]


@pytest.mark.parametrize("place", ["middleware", "handler"])
async def test_reject_is_the_ack(scenario, place):
    raising = "from gateway import Reject\nasync def {}: raise Reject('busy', 'later', [1])"
    guard = "async def guard(ctx, next): await next()"
    plugin = ECHO
    if place == "middleware":
        guard = raising.format("guard(ctx, next)")
    else:
        plugin = raising.format("go(ctx)")
    async with scenario(GUARDED, guard=guard, plugin=plugin) as gateway:
        client = await gateway.connect()
        assert await client.call("go") == [
            {"error": {"code": "busy", "message": "later", "data": [1]}}
        ]


async def test_without_an_ack_a_failure_arrives_as_an_error_event(scenario):
    plugin = """
        from gateway import Reject
        async def go(ctx, what):
            if what == "reject":
                raise Reject("busy", "later")
            raise ValueError("no detail for clients")
    """
    async with scenario(BARE, plugin=plugin) as gateway:
        client = await gateway.connect()
        expected = {
            "reject": ("busy", "later"),
            "raise": ("internal", "internal error"),
        }
        for what, (code, message) in expected.items():
            await client.emit("go", what)
            event = await client.receive()
            assert event.name == "error"
            assert event.args == [{"error": {"code": code, "message": message}, "event": "go"}]


async def test_dropped_and_unrouted_packets_without_an_ack_are_silent(scenario):
    guard = "async def guard(ctx, next):\n    if ctx.event != 'drop': await next()"
    async with scenario(GUARDED, guard=guard, plugin=ECHO) as gateway:
        client = await gateway.connect()
        await client.emit("drop")
        await client.emit("nope")
        await client.call("go")
        with pytest.raises(TimeoutError):
            await client.receive(timeout=0.01)


@pytest.mark.parametrize(
    "raised", ["KeyError('x')", "TypeError('x')", "SystemExit('x')", "asyncio.CancelledError()"]
)
async def test_whatever_a_handler_raises_is_answered_and_logged(scenario, caplog, raised):
    plugin = f"import asyncio\nasync def go(ctx):\n    raise {raised}"
    async with scenario(BARE, plugin=plugin) as gateway:
        client = await gateway.connect()
        assert await client.call("go") == error("internal", "internal error")
        assert raised.partition("(")[0].split(".")[-1] in caplog.text
        assert await client.call("nope") == error("unknown_event", "no route for event 'nope'")


async def test_middleware_may_answer_for_a_handler_that_failed(scenario):
    guard = """
        async def guard(ctx, next):
            try:
                await next()
            except KeyError as error:
                ctx.reply = f"caught {error}"
    """
    plugin = "async def go(ctx): raise KeyError('x')"
    async with scenario(GUARDED, guard=guard, plugin=plugin) as gateway:
        client = await gateway.connect()
        assert await client.call("go") == ["caught 'x'"]


@pytest.mark.parametrize("value", ["object()", "{1, 2}", "float('nan')", "[float('inf')]"])
async def test_a_reply_that_cannot_be_sent_is_an_internal_error(scenario, value):
    async with scenario(BARE, plugin=f"async def go(ctx): return {value}") as gateway:
        client = await gateway.connect()
        assert await client.call("go") == error("internal", "internal error")


async def test_a_handler_that_takes_too_long_is_cancelled_and_answered(scenario):
    config = """
        namespaces:
          /:
            routes:
              go: {use: plugin.go, timeout: 20ms}
              seen: plugin.seen
    """
    plugin = """
        import asyncio
        cancelled = asyncio.Event()

        async def go(ctx):
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async def seen(ctx):
            await cancelled.wait()
            return True
    """
    async with scenario(config, plugin=plugin) as gateway:
        client = await gateway.connect()
        assert await client.call("go") == error("timeout", "event 'go' took too long")
        assert await client.call("seen") == [True]


async def test_next_twice_in_a_packet_chain_is_named(scenario, caplog):
    guard = "async def guard(ctx, next):\n    await next()\n    await next()"
    async with scenario(GUARDED, guard=guard, plugin=ECHO) as gateway:
        client = await gateway.connect()
        assert await client.call("go") == error("internal", "internal error")
    assert "middleware 'guard.guard' called next() twice" in caplog.text


async def test_packets_start_in_order_and_run_concurrently(scenario):
    plugin = """
        import asyncio
        started = []
        both = asyncio.Event()

        async def go(ctx, name):
            started.append(name)
            if len(started) == 2:
                both.set()
            await both.wait()
            return list(started)
    """
    async with scenario(BARE, plugin=plugin) as gateway:
        client = await gateway.connect()
        await client.emit("go", "first")
        assert await client.call("go", "second") == [["first", "second"]]


@pytest.mark.parametrize(
    ("namespace", "route"), [("order: serial", ""), ("order: concurrent", ", order: serial")]
)
async def test_serial_packets_finish_in_order(scenario, namespace, route):
    config = f"""
        namespaces:
          /:
            {namespace}
            routes:
              go: {{use: plugin.go{route}}}
    """
    plugin = """
        import asyncio
        done = []

        async def go(ctx, name, rounds):
            for _ in range(rounds):
                await asyncio.sleep(0)
            done.append(name)
            return list(done)
    """
    async with scenario(config, plugin=plugin) as gateway:
        client = await gateway.connect()
        await client.emit("go", "slow", 20)
        assert await client.call("go", "quick", 0) == [["slow", "quick"]]


async def test_a_serial_route_does_not_wait_for_other_routes(scenario):
    config = """
        namespaces:
          /:
            routes:
              stuck: {use: plugin.stuck, order: serial}
              free: {use: plugin.free, order: serial}
    """
    plugin = """
        import asyncio

        async def stuck(ctx):
            await asyncio.Event().wait()

        async def free(ctx):
            return "free"
    """
    async with scenario(config, plugin=plugin) as gateway:
        client = await gateway.connect()
        await client.emit("stuck")
        assert await client.call("free") == ["free"]
        gateway.drain = 0


@pytest.mark.parametrize(
    ("on_disconnect", "outcome"), [("cancel", "cancelled"), ("continue", "done")]
)
async def test_what_becomes_of_a_handler_when_its_client_leaves(scenario, on_disconnect, outcome):
    config = f"""
        namespaces:
          /:
            routes:
              go: {{use: plugin.go, on_disconnect: {on_disconnect}}}
              left: plugin.left
              outcome: plugin.outcome
    """
    plugin = """
        import asyncio
        go_on = asyncio.Event()
        result = asyncio.Queue()

        async def go(ctx):
            try:
                await go_on.wait()
                result.put_nowait("done")
            except asyncio.CancelledError:
                result.put_nowait("cancelled")
                raise

        async def left(ctx):
            go_on.set()

        async def outcome(ctx):
            return await result.get()
    """
    async with scenario(config, plugin=plugin) as gateway:
        client, watcher = await gateway.connect(), await gateway.connect()
        await client.emit("go")
        await watcher.call("nope")
        await client.disconnect()
        await watcher.call("left")
        assert await watcher.call("outcome") == [outcome]


async def test_an_error_whose_data_cannot_be_sent_is_an_internal_error(scenario, caplog):
    config = "namespaces: {/: {routes: {go: plugin.go}}}"
    plugin = """
        from gateway import Reject

        async def go(ctx):
            raise Reject("no", "not this", float("nan"))
    """
    internal = {"code": "internal", "message": "internal error"}
    async with scenario(config, plugin=plugin) as gateway:
        client = await gateway.connect()
        assert await client.call("go") == [{"error": internal}]
        await client.emit("go")
        assert (await client.receive("error")).args == [{"error": internal, "event": "go"}]
        assert gateway._server.dispatcher.outcomes["internal"] == 2
    assert caplog.messages.count("ValueError in the data of a Reject") == 2


async def test_a_client_that_leaves_while_it_is_asked_is_no_fault(scenario, caplog):
    config = "namespaces: {/: {routes: {ask: plugin.ask}}}"
    plugin = """
        async def ask(ctx):
            await ctx.socket.call("question")
    """
    async with scenario(config, plugin=plugin) as gateway:
        client = await gateway.connect()
        await client.emit("ask")
        await client.receive("question")
        await client.lose()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


UNUSUAL = ["GeneratorExit()", "Panic('x')", "BaseExceptionGroup('x', [Panic('y')])"]
PANIC = """
    import asyncio

    class Panic(BaseException):
        pass
"""


@pytest.mark.parametrize("raised", UNUSUAL)
@pytest.mark.parametrize("wait", ["pass", "await asyncio.sleep(0)"])
async def test_an_exception_that_is_no_error_is_answered_and_logged_too(
    scenario, caplog, raised, wait
):
    plugin = f"{PANIC}\n    async def go(ctx):\n        {wait}\n        raise {raised}"
    async with scenario(BARE, plugin=plugin) as gateway:
        client = await gateway.connect()
        assert await client.call("go") == error("internal", "internal error")
        assert f"{raised.partition('(')[0]} in event 'go'" in caplog.text
        assert await client.call("nope") == error("unknown_event", "no route for event 'nope'")


@pytest.mark.parametrize("order", ["concurrent", "serial"])
async def test_a_handler_that_goes_on_when_cancelled_is_answered_at_its_time_out(
    scenario, caplog, order
):
    config = f"""
        namespaces:
          /:
            routes:
              go: {{use: plugin.go, timeout: 20ms, order: {order}}}
              end: plugin.end
    """
    plugin = """
        import asyncio
        stubborn = asyncio.Event()

        async def go(ctx):
            while not stubborn.is_set():
                try:
                    await stubborn.wait()
                except asyncio.CancelledError:
                    pass
            return "at last"

        async def end(ctx):
            stubborn.set()
    """
    async with scenario(config, plugin=plugin) as gateway:
        client = await gateway.connect()
        assert await client.call("go") == error("timeout", "event 'go' took too long")
        assert await client.call("end") == []
        await gateway._server.live.drain(gateway.drain)
        outcomes = gateway._server.dispatcher.outcomes
        with pytest.raises(TimeoutError):
            await client.receive(timeout=0.01)
    assert (outcomes["timeout"], outcomes["ok"]) == (1, 1)
    [warning] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert warning.message == (
        "event 'go' goes on after its time-out: its handler cannot be cancelled"
    )
