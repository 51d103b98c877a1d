"""Connection chains, as a client sees them (docs/semantics.md, "Connections")."""

from __future__ import annotations

import asyncio
import logging

import pytest

from gateway.testing import Refused

ONE = """
namespaces:
  /:
    connection_middleware: [guard]
    connect_timeout: 50ms
    routes: {seen: log.seen}
"""

LOG = """
import asyncio

happened = asyncio.Queue()

async def seen(ctx, count: int = 1):
    return [await happened.get() for _ in range(count)]
"""


async def test_what_the_chain_emits_before_next_follows_connect(scenario):
    guard = """
        async def guard(ctx, next):
            await ctx.socket.emit("hello", ctx.socket.id)
            await next()
    """
    async with scenario(ONE, guard=guard, log=LOG) as gateway:
        client = await gateway.connect()
        assert (await client.receive()).args == [client.id]


async def test_middleware_runs_in_order_and_unwinds_in_reverse_when_the_client_leaves(scenario):
    config = """
        namespaces:
          /:
            connection_middleware: [steps.outer, steps.inner]
            routes: {seen: log.seen}
    """
    steps = """
        from .log import happened

        async def outer(ctx, next):
            happened.put_nowait("outer in")
            await next()
            happened.put_nowait("outer out")

        async def inner(ctx, next):
            happened.put_nowait("inner in")
            await next()
            happened.put_nowait("inner out")
    """
    async with scenario(config, steps=steps, log=LOG) as gateway:
        client, leaver = await gateway.connect(), await gateway.connect()
        assert await client.call("seen", 4) == [["outer in", "inner in"] * 2]
        await leaver.disconnect()
        assert await client.call("seen", 2) == [["inner out", "outer out"]]


@pytest.mark.parametrize("how", ["disconnect", "lose"])
async def test_the_chain_unwinds_however_the_client_goes(scenario, how):
    guard = """
        from .log import happened

        async def guard(ctx, next):
            await next()
            happened.put_nowait(ctx.socket.id)
    """
    async with scenario(ONE, guard=guard, log=LOG) as gateway:
        watcher, leaver = await gateway.connect(), await gateway.connect()
        await getattr(leaver, how)()
        assert await watcher.call("seen") == [[leaver.id]]


async def test_reject_reaches_the_client_with_message_code_and_data(scenario):
    guard = """
        from gateway import Reject

        async def guard(ctx, next):
            if ctx.socket.handshake.auth.get("token") != "secret":
                raise Reject("unauthorized", "log in first", {"at": "/login"})
            await next()
    """
    async with scenario(ONE, guard=guard, log=LOG) as gateway:
        with pytest.raises(Refused) as refused:
            await gateway.connect(auth={"token": "wrong"})
        assert refused.value.message == "log in first"
        assert refused.value.data == {"code": "unauthorized", "data": {"at": "/login"}}
        assert (await gateway.connect(auth={"token": "secret"})).connected


async def test_returning_without_next_refuses(scenario):
    guard = """
        async def guard(ctx, next):
            return
    """
    async with scenario(ONE, guard=guard, log=LOG) as gateway:
        with pytest.raises(Refused) as refused:
            await gateway.connect()
        assert refused.value.message == "connection refused"
        assert refused.value.data == {"code": "refused"}


async def test_a_chain_that_never_accepts_times_out(scenario):
    guard = """
        import asyncio

        async def guard(ctx, next):
            await asyncio.Event().wait()
    """
    async with scenario(ONE, guard=guard, log=LOG) as gateway:
        with pytest.raises(Refused) as refused:
            await gateway.connect()
        assert refused.value.message == "connecting took too long"
        assert refused.value.data == {"code": "timeout"}


async def test_the_connect_timeout_ends_with_the_acceptance(scenario):
    guard = """
        async def guard(ctx, next):
            await next()
    """
    async with scenario(ONE, guard=guard, log=LOG) as gateway:
        client = await gateway.connect()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.wait_disconnected()
        assert await client.call("seen", 0) == [[]]


async def test_an_exception_is_logged_and_the_client_sees_no_detail(scenario, caplog):
    guard = """
        async def guard(ctx, next):
            raise RuntimeError("the database password is hunter2")
    """
    async with scenario(ONE, guard=guard, log=LOG) as gateway:
        with pytest.raises(Refused) as refused:
            await gateway.connect()
    assert refused.value.message == "internal error"
    assert refused.value.data == {"code": "internal"}
    assert "hunter2" in caplog.text


async def test_the_logged_traceback_has_the_authors_frames_only(scenario, caplog):
    guard = """
        async def guard(ctx, next):
            raise RuntimeError("broken")
    """
    async with scenario(ONE, guard=guard, log=LOG) as gateway:
        with pytest.raises(Refused):
            await gateway.connect()
    [record] = [r for r in caplog.records if r.levelno == logging.ERROR]
    frames = [line for line in caplog.text.splitlines() if line.startswith("  File ")]
    assert len(frames) == 1
    assert "plugins/guard.py" in frames[0]
    assert record.message == "RuntimeError in connecting"


async def test_what_is_logged_after_the_client_left_is_not_told_of_connect(scenario, caplog):
    caplog.set_level(logging.DEBUG)
    guard = """
        async def guard(ctx, next):
            ctx.log.info("%s comes", ctx.event)
            await next()
            ctx.log.info("%s goes", ctx.event)
            raise KeyError("x")
    """
    async with scenario(ONE, guard=guard, log=LOG) as gateway:
        client = await gateway.connect()
        await client.disconnect()
    told = [(r.event, r.message) for r in caplog.records if r.name == "sockgw.plugin"]
    assert told == [
        ("connect", "connect comes"),
        ("disconnect", "connect goes"),
        ("disconnect", "KeyError after the client left"),
    ]


@pytest.mark.parametrize(
    "error",
    [
        *("TypeError('x')", "SystemExit(1)", "KeyError('x')", "GeneratorExit()"),
        *("BaseException('x')", "BaseExceptionGroup('x', [GeneratorExit()])"),
    ],
)
async def test_whatever_a_middleware_raises_runs_it_once_and_refuses(scenario, error):
    guard = f"""
        from .log import happened

        async def guard(ctx, next):
            if ctx.socket.handshake.auth:
                happened.put_nowait(1)
                raise {error}
            await next()
    """
    async with scenario(ONE, guard=guard, log=LOG) as gateway:
        with pytest.raises(Refused):
            await gateway.connect(auth={"fail": True})
        watcher = await gateway.connect()
        assert await watcher.call("seen") == [[1]]


async def test_next_twice_is_an_error_that_names_the_middleware(scenario, caplog):
    config = """
        namespaces:
          /:
            connection_middleware: [twice.twice]
    """
    twice = """
        async def twice(ctx, next):
            await next()
            await next()
    """
    async with scenario(config, twice=twice) as gateway:
        client = await gateway.connect()
        await client.disconnect()
    assert "middleware 'twice.twice' called next() twice" in caplog.text


async def test_a_client_gone_while_the_chain_is_pending_leaves_no_ghost(scenario):
    guard = """
        import asyncio
        from .log import happened

        async def guard(ctx, next):
            if ctx.socket.handshake.auth:
                try:
                    await asyncio.Event().wait()
                finally:
                    happened.put_nowait(len(await ctx.namespace.sockets()))
            await next()
    """
    config = ONE.replace("50ms", "60s")
    async with scenario(config, guard=guard, log=LOG) as gateway:
        pending = gateway.client(auth={"wait": True})
        connecting = asyncio.create_task(pending.connect())
        watcher = await gateway.connect()
        await pending.lose()
        connecting.cancel()
        assert await watcher.call("seen") == [[1]]


async def test_disconnect_before_next_refuses_and_next_returns_at_once(scenario):
    guard = """
        from .log import happened

        async def guard(ctx, next):
            if ctx.socket.handshake.auth:
                await ctx.socket.disconnect()
                await next()
                happened.put_nowait("returned")
            else:
                await next()
    """
    async with scenario(ONE, guard=guard, log=LOG) as gateway:
        with pytest.raises(Refused) as refused:
            await gateway.connect(auth={"kick": True})
        assert refused.value.data == {"code": "refused"}
        watcher = await gateway.connect()
        assert await watcher.call("seen") == [["returned"]]


async def test_a_middleware_that_stops_waiting_in_next_ends_the_socket(scenario):
    guard = """
        import asyncio

        async def guard(ctx, next):
            try:
                async with asyncio.timeout(0.02):
                    await next()
            except TimeoutError:
                ctx.log.info("session over")
    """
    async with scenario(ONE, guard=guard, log=LOG) as gateway:
        client = await gateway.connect()
        await client.wait_disconnected()


async def test_rooms_joined_before_next_count_from_the_acceptance_on(scenario):
    guard = """
        async def guard(ctx, next):
            await ctx.socket.join("lobby")
            await ctx.namespace.to("lobby").emit("too early")
            assert ctx.socket.rooms == {"lobby", ctx.socket.id}
            await next()
    """
    config = ONE.replace("log.seen", "guard.shout")
    shout = (
        guard
        + """
        async def shout(ctx):
            await ctx.namespace.to("lobby").emit("now")
    """
    )
    async with scenario(config, guard=shout) as gateway:
        client = await gateway.connect()
        await client.emit("seen")
        assert (await client.receive()).name == "now"


async def test_call_before_next_says_why_it_cannot_work(scenario, caplog):
    guard = """
        async def guard(ctx, next):
            await ctx.socket.call("name?")
    """
    async with scenario(ONE, guard=guard, log=LOG) as gateway:
        with pytest.raises(Refused):
            await gateway.connect()
    assert "call() before next(): the client is not there to answer yet" in caplog.text


async def test_an_unknown_namespace_is_refused_in_socket_ios_words(scenario):
    async with scenario(ONE.replace("[guard]", "[]"), log=LOG) as gateway:
        with pytest.raises(Refused) as refused:
            await gateway.connect("/nowhere")
        assert refused.value.message == "Invalid namespace"
        assert refused.value.data is None


async def test_a_cancellation_that_comes_from_a_task_of_a_plugin_is_answered(scenario, caplog):
    guard = """
        import asyncio

        async def guard(ctx, next):
            shared = asyncio.create_task(asyncio.Event().wait())
            shared.cancel()
            await shared
    """
    async with scenario(ONE, guard=guard, log=LOG) as gateway:
        with pytest.raises(Refused) as refused:
            await gateway.connect()
        assert (refused.value.message, refused.value.data) == (
            "internal error",
            {"code": "internal"},
        )
    assert "CancelledError in connecting" in caplog.messages


async def test_a_refusal_whose_data_cannot_be_sent_is_an_internal_error(scenario, caplog):
    guard = """
        from gateway import Reject

        async def guard(ctx, next):
            raise Reject("no", "not you", {1, 2})
    """
    async with scenario(ONE, guard=guard, log=LOG) as gateway:
        with pytest.raises(Refused) as refused:
            await gateway.connect()
        assert refused.value.data == {"code": "internal"}
    assert "TypeError in the data of a Reject" in caplog.messages
