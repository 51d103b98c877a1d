from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.testing import Event, TestClient, TestGateway
from tests.builtin.conftest import Guarded, use
from tests.gateway_files import write

PLUGINS = {
    "work": """
        from asyncio import CancelledError

        async def work(ctx, name):
            try:
                await ctx.socket.call("begun", name)  # until the client answers
            except CancelledError:
                await ctx.namespace.emit("stopped", name)
                raise
            await ctx.socket.emit("done", name)
    """
}


def limited(guarded: Guarded, **options: Any) -> TestGateway:
    routes = {"work": {"use": "work", "on_disconnect": "cancel"}}
    chain = [use("concurrency", options)]
    return guarded(packet_middleware=chain, routes=routes, plugins=PLUGINS)


async def begin(client: TestClient, name: str) -> Event:
    """Start work that is expected to begin at once."""
    await client.emit("work", name)
    return await begun(client, name)


async def begun(client: TestClient, name: str) -> Event:
    event = await client.receive()
    assert (event.name, event.args) == ("begun", [name])
    return event


async def end(client: TestClient, event: Event) -> None:
    await client.answer(event)
    assert (await client.receive("done")).args == event.args


async def is_busy(client: TestClient) -> bool:
    await client.emit("work", "more")
    event = await client.receive()
    busy = {"code": "busy", "message": "too many at once, try again later"}
    return event.name == "error" and event.args == [{"error": busy, "event": "work"}]


async def test_what_is_too_much_is_refused_until_there_is_room(guarded: Guarded) -> None:
    async with limited(guarded, limit=2) as gateway:
        client = await gateway.connect()
        first, second = await begin(client, "1"), await begin(client, "2")
        assert await is_busy(client)
        await end(client, second)
        third = await begin(client, "3")
        assert await is_busy(client)
        await end(client, first)
        await end(client, third)


async def test_some_wait_for_their_turn_in_the_order_they_came(guarded: Guarded) -> None:
    async with limited(guarded, limit=1, queue=2) as gateway:
        client, other = await gateway.connect(), await gateway.connect()
        first = await begin(client, "1")
        await other.emit("work", "2")
        await client.emit("work", "3")
        assert await is_busy(client)
        await end(client, first)
        await end(other, await begun(other, "2"))
        await end(client, await begun(client, "3"))


async def test_who_leaves_gives_the_place_back(guarded: Guarded) -> None:
    async with limited(guarded, limit=1, queue=1) as gateway:
        at_work, waiting, client = [await gateway.connect() for _ in range(3)]
        await begin(at_work, "1")
        await waiting.emit("work", "2")
        await waiting.lose()
        await at_work.lose()
        assert (await client.receive("stopped")).args == ["1"]
        third = await begin(client, "3")
        await client.emit("work", "4")
        assert await is_busy(client)
        await end(client, third)
        await end(client, await begun(client, "4"))


@pytest.mark.parametrize(
    ("per", "same_namespace", "other_namespace"),
    [("gateway", True, True), ("namespace", True, False), ("socket", False, False)],
)
async def test_who_shares_the_limit(
    tmp_path: Path, per: str, same_namespace: bool, other_namespace: bool
) -> None:
    file = write(
        tmp_path,
        f"""
        namespaces:
          /: &all
            packet_middleware:
              - {{use: builtin.concurrency, with: {{limit: 1, per: {per}}}}}
            routes: {{work: {{use: work, on_disconnect: cancel}}}}
          /other: *all
        """,
        **PLUGINS,
    )
    async with TestGateway(file, {}) as gateway:
        gateway.drain = 0.0  # what has begun here has no end
        await begin(await gateway.connect(), "1")
        assert await is_busy(await gateway.connect()) is same_namespace
        assert await is_busy(await gateway.connect("/other")) is other_namespace
