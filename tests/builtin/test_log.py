from __future__ import annotations

import logging
import re

import pytest

from tests.builtin.conftest import Guarded, use

PLUGINS = {
    "plugin": """
        import asyncio

        from gateway import Reject

        async def good(ctx, secret):
            return secret

        async def bad(ctx):
            raise Reject("too_bad", "no")

        async def fault(ctx):
            1 / 0

        async def slow(ctx):
            await ctx.socket.emit("started")
            await asyncio.Event().wait()
    """
}
ROUTES = {
    "good": "plugin.good",
    "bad": "plugin.bad",
    "fault": "plugin.fault",
    "slow": {"use": "plugin.slow", "on_disconnect": "cancel"},
    "*": "plugin.fault",
}


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines of the built-in; how long it took reads `T`."""
    ours = [each for each in caplog.records if each.pathname.endswith("builtin/log.py")]
    return [re.sub(r"\d+\.\d", "T", each.getMessage()) for each in ours]


async def test_a_packet_is_a_line(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sockgw")
    chain = [use("log", {})]
    async with guarded(packet_middleware=chain, routes=ROUTES, plugins=PLUGINS) as gateway:
        client = await gateway.connect()
        await client.call("good", "hunter2")
        await client.call("bad")
        await client.call("fault")
        await client.emit("slow")
        await client.receive("started")
        await client.lose()
    assert lines(caplog) == [
        "'good' ok T ms",
        "'bad' too_bad T ms",
        "'fault' internal T ms",
        "'slow' cancelled T ms",
    ]
    assert "hunter2" not in caplog.text


async def test_a_name_that_a_client_made_up_stays_on_its_line(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sockgw")
    chain = [use("log", {})]
    async with guarded(packet_middleware=chain, routes=ROUTES, plugins=PLUGINS) as gateway:
        await (await gateway.connect()).call("a\n\x1b[31m" + "b" * 1000)
    assert lines(caplog) == [r"'a\n\x1b[31m" + "b" * 52 + " internal T ms"]


@pytest.mark.parametrize(("level", "count"), [("info", 1), ("debug", 0)])
async def test_the_level_can_be_lowered(
    guarded: Guarded, caplog: pytest.LogCaptureFixture, level: str, count: int
) -> None:
    caplog.set_level(logging.INFO, "sockgw")
    chain = [use("log", {"level": level})]
    async with guarded(packet_middleware=chain, routes=ROUTES, plugins=PLUGINS) as gateway:
        await (await gateway.connect()).call("good", 1)
    assert len(lines(caplog)) == count
