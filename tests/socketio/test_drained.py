"""`socket.drained()`: a handler goes on when its client has read most of what it was sent."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from gateway.testing import TestClient, TestGateway
from tests.deadline import deadline, until
from tests.gateway_files import write

PLUGIN = """
from gateway import UsageError

sent = {}
errors = []

async def stream(ctx, name: str, lines: int, size: int):
    for number in range(lines):
        await ctx.socket.emit("line", name, number, "x" * size)
        sent[name] = number + 1
        await ctx.socket.drained()
    return "done"

async def told(ctx):
    return sent, errors

async def shout(ctx, lines: int):
    for number in range(lines):
        await ctx.namespace.emit("shouted", number)

async def kick(ctx):
    await ctx.namespace.disconnect_sockets()

async def early(ctx, next):
    try:
        await ctx.socket.drained()
    except UsageError as error:
        errors.append(str(error))
    await next()
    try:
        await ctx.socket.drained()
    except ConnectionError as error:
        errors.append(str(error))

async def drained(ctx):
    await ctx.socket.drained()
"""


def config(**limits: Any) -> str:
    """A gateway whose / is streamed to, and whose /other looks on."""
    names = ("stream", "told", "shout", "kick", "drained")
    routes = {name: f"plugin.{name}" for name in names}
    namespaces = {
        "/": {"connection_middleware": ["plugin.early"], "routes": routes},
        "/other": {"routes": {**routes, "kick": "plugin.kick"}},
    }
    return json.dumps({"limits": limits, "namespaces": namespaces})


def gateway(folder: Path, **limits: Any) -> TestGateway:
    return TestGateway(write(folder, config(**limits), plugin=PLUGIN), {})


async def told(witness: TestClient) -> tuple[dict[str, int], list[str]]:
    await asyncio.sleep(0)  # a turn of the loop, which a call need not take
    sent, errors = await witness.call("told")
    return sent, errors  # type: ignore[return-value]


async def stands(witness: TestClient, **sent: int) -> None:
    """Wait until so many lines of each stream are sent, and no more."""

    async with deadline():
        while (await told(witness))[0] != sent:
            pass
    for _ in range(50):
        assert (await told(witness))[0] == sent


@pytest.mark.parametrize(
    ("limits", "size", "kept"),
    [
        ({"send_packets": 40}, 1, 10),
        ({"send_packets": 4}, 1, 1),
        ({"send_packets": 1}, 1, 1),
        ({"send_buffer": 40_000}, 2_000, 5),
        ({"send_buffer": 1}, 2_000, 1),
        ({"send_buffer": 4_000}, 100_000, 1),
        ({"send_packets": "unlimited"}, 1, 2_500),
        ({"send_buffer": "unlimited", "send_packets": "unlimited"}, 100_000, 10),
        ({}, 1, 2_500),
        ({"on_slow": "drop_oldest", "send_packets": 40}, 1, 10),
    ],
)
async def test_a_quarter_of_what_may_wait_is_sent_ahead(
    tmp_path: Path, limits: dict[str, Any], size: int, kept: int
) -> None:
    async with gateway(tmp_path, **limits) as one:
        witness, client = await one.connect("/other"), await one.connect()
        client.pause()
        await client.emit("stream", "a", kept + 5, size)
        await stands(witness, a=kept)
        client.resume()
        for number in range(kept + 5):
            assert (await client.receive("line")).args == ["a", number, "x" * size]


async def test_other_limits_are_heeded_at_once(tmp_path: Path) -> None:
    async with gateway(tmp_path, send_packets=40) as one:
        witness, client = await one.connect("/other"), await one.connect()
        client.pause()
        await client.emit("stream", "a", 100, 1)
        await stands(witness, a=10)
        (tmp_path / "gateway.yaml").write_text(config(send_packets=80))
        await one.reload()
        await stands(witness, a=20)
        (tmp_path / "gateway.yaml").write_text(config(send_packets=40))
        await one.reload()
        client.resume()
        client.pause()
        await stands(witness, a=30)
        one.drain = 0.0


async def test_a_broadcast_does_not_wait(tmp_path: Path) -> None:
    async with gateway(tmp_path, send_packets=40) as one:
        witness, client = await one.connect(), await one.connect()
        client.pause()
        await client.emit("stream", "a", 100, 1)
        await stands(witness, a=10)
        await witness.call("shout", 29)
        assert client.connected
        assert (await told(witness))[0] == {"a": 10}
        client.resume()
        assert [(await client.receive("line")).args[1] for _ in range(100)] == [*range(100)]


async def test_streams_to_one_client_take_turns(tmp_path: Path) -> None:
    """The stream that came first does not take all the room as often as there is some."""
    async with gateway(tmp_path, send_packets=40) as one:
        witness, client = await one.connect("/other"), await one.connect()
        other = await one.connect("/other", beside=client)
        client.pause()
        for name in ("a", "b"):
            await client.emit("stream", name, 30, 1)
        await other.emit("stream", "c", 30, 1)
        before = await after(witness, lines=10)
        for lines in (20, 30, 40):
            client.resume()
            client.pause()
            now = await after(witness, lines)
        assert [name for name in "abc" if now[name] == before[name]] == []
        one.drain = 0.0


async def after(witness: TestClient, lines: int) -> dict[str, int]:
    """How far each stream is when so many lines are sent in all."""
    async with deadline():
        while sum((sent := (await told(witness))[0]).values()) != lines:
            pass
    return sent


@pytest.mark.parametrize("how", ["lose", "disconnect", "kick"])
async def test_a_stream_ends_when_its_client_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    async with gateway(tmp_path, send_packets=40) as one:
        witness = await one.connect("/other")
        client, beside = await one.connect(), None
        if how == "disconnect":
            beside = await one.connect("/other", beside=client)
        client.pause()
        await client.emit("stream", "a", 100, 1)
        await stands(witness, a=10)
        live = one._server.live
        assert live.packets == 1
        if how == "kick":
            await one.gateway.of("/").disconnect_sockets()
        else:
            await getattr(client, how)()
        await until(lambda: live.packets == 0)
        assert (await told(witness))[0] == {"a": 10}
        if beside is not None:
            assert beside.connected
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_before_next_and_after_the_end_it_says_so(tmp_path: Path) -> None:
    async with gateway(tmp_path) as one:
        witness, client = await one.connect("/other"), await one.connect()
        early = "drained() before next(): nothing is sent to the client yet"
        assert (await told(witness))[1] == [early]
        await client.disconnect()
        async with deadline():
            while (await told(witness))[1] != [early, "the client is gone"]:
                pass


async def test_a_cancelled_wait_leaves_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path, send_packets=40) as one:
        witness, client = await one.connect("/other"), await one.connect()
        [socket] = await one.gateway.of("/").sockets()
        client.pause()
        await client.emit("stream", "a", 100, 1)
        await stands(witness, a=10)
        [session] = [each for each in one._server.engine.sessions.values() if each.outbox.drain]
        waiting = asyncio.ensure_future(socket.drained())
        await until(lambda: len(session.outbox.drain or ()) == 2)
        waiting.cancel()
        await until(waiting.done)
        assert len(session.outbox.drain or ()) == 1
        client.resume()
        await until(lambda: not session.outbox.drain)


async def test_others_have_their_turn_while_a_client_reads_as_fast_as_it_is_sent_to(
    tmp_path: Path,
) -> None:
    lines = 20_000
    async with gateway(tmp_path) as one:
        witness, client = await one.connect("/other"), await one.connect()
        await client.emit("stream", "a", lines, 1)
        sent, _ = await told(witness)
        assert 0 < sent["a"] < lines
        await stands(witness, a=lines)


async def test_at_the_side_of_a_stream_that_waits_one_that_has_room_goes_on(tmp_path: Path) -> None:
    async with gateway(tmp_path, send_packets=40) as one:
        slow, fast = await one.connect(), await one.connect()
        slow.pause()
        await slow.emit("stream", "a", 100, 1)
        assert await fast.call("stream", "b", 100, 1) == ["done"]
        assert (await told(fast))[0] == {"a": 10, "b": 100}
        one.drain = 0.0
