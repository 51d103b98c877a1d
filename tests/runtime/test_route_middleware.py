"""Middleware of a route, behind the packet chain (docs/semantics.md, "Middleware of a route")."""

from __future__ import annotations

import pytest

from tests.gateway_files import write

CONFIG = """
namespaces:
  /:
    packet_middleware: [step.outer]
    routes:
      go: {use: plugin.go, middleware: [step.first, step.second]}
      bare: plugin.go
"""
STEP = """
def named(name):
    async def step(ctx, next):
        ctx.state.setdefault("way", []).append(name)
        await next()
        ctx.reply = [*ctx.reply, name]
    return step

outer, first, second = map(named, ("outer", "first", "second"))
"""
GO = "async def go(ctx, *args): return [*ctx.state.get('way', ()), *args]"
GUARDED = "namespaces: {/: {routes: {go: {use: plugin.go, middleware: [guard]}, bare: plugin.go}}}"


def error(code: str, message: str) -> list[object]:
    return [{"error": {"code": code, "message": message}}]


async def test_it_runs_between_the_packet_chain_and_the_handler(scenario):
    async with scenario(CONFIG, step=STEP, plugin=GO) as gateway:
        client = await gateway.connect()
        way = ["outer", "first", "second"]
        assert await client.call("go", 1) == [[*way, 1, *reversed(way)]]
        assert await client.call("bare", 1) == [["outer", 1, "outer"]]


async def test_that_of_the_star_route_is_for_events_without_a_route(scenario):
    config = CONFIG.replace("bare: plugin.go", '"*": {use: plugin.go, middleware: [step.second]}')
    async with scenario(config, step=STEP, plugin=GO) as gateway:
        client = await gateway.connect()
        assert await client.call("any") == [["outer", "second", "second", "outer"]]


async def test_it_may_change_the_arguments_before_they_are_checked(scenario):
    config = GUARDED.replace("middleware: [guard]", "middleware: [guard], schema: [{type: string}]")
    guard = """
        async def guard(ctx, next):
            ctx.args = [str(ctx.args[0])]
            await next()
    """
    plugin = "async def go(ctx, text: str): return text"
    async with scenario(config, guard=guard, plugin=plugin) as gateway:
        assert await (await gateway.connect()).call("go", 7) == ["7"]


@pytest.mark.parametrize("packets", ["", "packet_middleware: [step.outer], "])
async def test_without_next_the_packet_is_dropped(scenario, packets):
    config = GUARDED.replace("routes", packets + "routes")
    step = "async def outer(ctx, next): await next()"
    guard = "async def guard(ctx, next): pass"
    async with scenario(config, step=step, guard=guard, plugin=GO) as gateway:
        client = await gateway.connect()
        assert await client.call("go") == error("dropped", "event 'go' was dropped")
        assert await client.call("bare") == [[]]
        assert gateway._server.dispatcher.outcomes["dropped"] == 1


async def test_a_handler_without_a_reply_is_not_dropped(scenario):
    guard = "async def guard(ctx, next): await next()"
    async with scenario(GUARDED, guard=guard, plugin="async def go(ctx): pass") as gateway:
        assert await (await gateway.connect()).call("go") == []


async def test_a_reply_set_without_next_is_the_answer(scenario):
    guard = "async def guard(ctx, next): ctx.reply = 'from the cache'"
    async with scenario(GUARDED, guard=guard, plugin=GO) as gateway:
        assert await (await gateway.connect()).call("go") == ["from the cache"]


async def test_reject_is_the_ack(scenario):
    guard = """
        from gateway import Reject
        async def guard(ctx, next): raise Reject("no", "not you", [1])
    """
    async with scenario(GUARDED, guard=guard, plugin=GO) as gateway:
        client = await gateway.connect()
        refused = {"error": {"code": "no", "message": "not you", "data": [1]}}
        assert await client.call("go") == [refused]
        await client.emit("go")
        assert (await client.receive("error")).args == [{**refused, "event": "go"}]


async def test_an_exception_is_logged_with_its_event(scenario, caplog):
    guard = "async def guard(ctx, next): raise KeyError('x')"
    async with scenario(GUARDED, guard=guard, plugin=GO) as gateway:
        assert await (await gateway.connect()).call("go") == error("internal", "internal error")
    assert "KeyError in event 'go'" in caplog.text
    assert "plugins/guard.py" in caplog.text


@pytest.mark.parametrize("first", ["", "packet_middleware: [guard.once], "])
async def test_next_twice_is_told_with_the_middleware_and_its_route(scenario, caplog, first):
    guard = """
        async def guard(ctx, next):
            await next()
            await next()
        async def once(ctx, next):
            await next()
    """
    config = GUARDED.replace("routes", first + "routes")
    async with scenario(config, guard=guard, plugin=GO) as gateway:
        assert await (await gateway.connect()).call("go") == error("internal", "internal error")
    assert "middleware 'guard.guard' of route 'go' called next() twice" in caplog.text


async def test_the_time_of_the_packet_includes_it(scenario):
    config = GUARDED.replace("middleware", "timeout: 20ms, middleware")
    guard = """
        import asyncio
        async def guard(ctx, next):
            await asyncio.Event().wait()
    """
    async with scenario(config, guard=guard, plugin=GO) as gateway:
        client = await gateway.connect()
        assert await client.call("go") == error("timeout", "event 'go' took too long")


async def test_after_its_time_a_packet_no_longer_reaches_the_handler(scenario, caplog):
    config = """
        namespaces:
          /:
            routes:
              go: {use: plugin.go, timeout: 20ms, middleware: [guard]}
              end: plugin.end
    """
    guard = """
        import asyncio
        stubborn = asyncio.Event()
        ended = asyncio.Event()

        async def guard(ctx, next):
            while not stubborn.is_set():
                try:
                    await stubborn.wait()
                except asyncio.CancelledError:
                    pass
            await next()
            ended.set()
    """
    plugin = """
        from .guard import ended, stubborn
        ran = []

        async def go(ctx):
            ran.append(1)

        async def end(ctx):
            stubborn.set()
            await ended.wait()
            return ran
    """
    async with scenario(config, guard=guard, plugin=plugin) as gateway:
        client = await gateway.connect()
        assert await client.call("go") == error("timeout", "event 'go' took too long")
        assert await client.call("end") == [[]]


async def test_serial_packets_wait_before_it(scenario):
    config = GUARDED.replace("middleware", "order: serial, middleware")
    guard = """
        import asyncio
        entered = []
        async def guard(ctx, next):
            entered.append(ctx.args[0])
            await next()
    """
    plugin = """
        import asyncio
        from .guard import entered

        async def go(ctx, name):
            for _ in range(20):
                await asyncio.sleep(0)
            return list(entered)
    """
    async with scenario(config, guard=guard, plugin=plugin) as gateway:
        client = await gateway.connect()
        await client.emit("go", "second")
        assert await client.call("go", "third") == [["second", "third"]]
        first = await client.call("go", "last")
    assert first == [["second", "third", "last"]]


# Instances

COUNTED = """
namespaces:
  /:
    routes:
      one: {{use: count.done, middleware: [{{use: count.Count, with: {{most: {most}}}}}]}}
      two: {{use: count.done, middleware: [{{use: count.Count, with: {{most: 9}}}}]}}
"""
COUNT = """
class Count:
    def __init__(self, most: int) -> None:
        self.seen = 0

    async def __call__(self, ctx, next):
        self.seen += 1
        await next()
        ctx.reply = self.seen

async def done(ctx): ...
"""


async def test_each_route_has_an_instance_of_its_own(scenario):
    async with scenario(COUNTED.format(most=9), count=COUNT) as gateway:
        client = await gateway.connect()
        assert [await client.call("one") for _ in range(2)] == [[1], [2]]
        assert await client.call("two") == [1]


async def test_an_instance_is_kept_while_it_is_made_from_the_same(scenario, tmp_path):
    async with scenario(COUNTED.format(most=9), count=COUNT) as gateway:
        client = await gateway.connect()
        assert await client.call("one") == await client.call("two") == [1]
        write(tmp_path, COUNTED.format(most=8))
        await gateway.reload()
        assert (await client.call("one"), await client.call("two")) == ([1], [2])
        write(tmp_path, COUNTED.format(most=8), count=COUNT + "# changed\n")
        await gateway.reload()
        assert await client.call("two") == [1]


async def test_a_class_whose_methods_are_named_is_created_once(scenario):
    config = """
        namespaces:
          /:
            routes:
              one: {use: chat.Chat.count, middleware: [chat.Chat.enter]}
              two: {use: chat.Chat.count, middleware: [chat.Chat.enter]}
    """
    chat = """
        class Chat:
            def __init__(self):
                self.seen = 0

            async def enter(self, ctx, next):
                self.seen += 1
                await next()

            async def count(self, ctx):
                return self.seen
    """
    async with scenario(config, chat=chat) as gateway:
        client = await gateway.connect()
        assert (await client.call("one"), await client.call("two")) == ([1], [2])


async def test_what_a_reload_adds_holds_for_the_next_packet(scenario, tmp_path):
    guard = "async def guard(ctx, next): pass"
    config = GUARDED.replace(", middleware: [guard]", "")
    async with scenario(config, guard=guard, plugin=GO) as gateway:
        client = await gateway.connect()
        assert await client.call("go") == [[]]
        write(tmp_path, GUARDED)
        await gateway.reload()
        assert await client.call("go") == error("dropped", "event 'go' was dropped")
        write(tmp_path, config)
        await gateway.reload()
        assert await client.call("go") == [[]]


# Built-ins

WITH = """
namespaces:
  /:
    routes:
      one: {{use: plugin.go, middleware: [{built_in}]}}
      two: {{use: plugin.go, middleware: [{built_in}]}}
      go_on: plugin.go_on
"""
WAITING = """
    import asyncio
    gone_on = asyncio.Event()

    async def go(ctx):
        if ctx.args:
            await gone_on.wait()

    async def go_on(ctx):
        gone_on.set()
"""


async def test_a_rate_is_limited_for_each_route(scenario):
    config = WITH.format(built_in="{use: builtin.rate_limit, with: {rate: 1, per: 1000}}")
    async with scenario(config, plugin=WAITING) as gateway:
        client = await gateway.connect()
        assert (await client.call("one"), await client.call("two")) == ([], [])
        [refused] = await client.call("one")
        assert refused["error"]["code"] == "rate_limited"


async def test_packets_at_once_are_limited_for_each_route(scenario):
    config = WITH.format(built_in="{use: builtin.concurrency, with: {limit: 1}}")
    async with scenario(config, plugin=WAITING) as gateway:
        client = await gateway.connect()
        await client.emit("one", "wait")
        busy = error("busy", "too many at once, try again later")
        assert await client.call("one") == busy
        assert await client.call("two") == []
        await client.call("go_on")


async def test_the_time_of_the_handler_is_limited(scenario):
    config = WITH.format(built_in="{use: builtin.timeout, with: {after: 0.02}}")
    async with scenario(config, plugin=WAITING) as gateway:
        client = await gateway.connect()
        assert await client.call("one", "wait") == error("timeout", "event 'one' took too long")


async def test_arguments_are_validated(scenario):
    config = """
        namespaces:
          /:
            routes:
              say:
                use: plugin.say
                middleware: [{use: builtin.validate, with: {events: {say: [{type: string}]}}}]
    """
    async with scenario(config, plugin="async def say(ctx, text): return text") as gateway:
        client = await gateway.connect()
        assert await client.call("say", "hi") == ["hi"]
        message = "args[0]: 1 is not of type 'string'"
        assert await client.call("say", 1) == error("bad_request", message)


async def test_ids_of_packets_differ_between_routes(scenario):
    config = WITH.format(built_in="builtin.request_id")
    config = config.replace("routes:", "connection_middleware: [builtin.request_id]\n    routes:")
    plugin = """
        async def go(ctx): return ctx.state["request_id"]
        async def go_on(ctx): ...
    """
    async with scenario(config, plugin=plugin) as gateway:
        client = await gateway.connect()
        ids = [*await client.call("one"), *await client.call("two")]
        assert len({*ids}) == len({each.rpartition("-")[0] for each in ids}) + 1 == 2
