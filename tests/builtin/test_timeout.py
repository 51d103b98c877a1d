from __future__ import annotations

import logging

import pytest

from tests.builtin.conftest import Guarded, use

SLOW = """
    import asyncio

    told = []

    async def slow(ctx):
        try:
            await asyncio.Event().wait()
        finally:
            await ctx.socket.emit("cancelled")

    async def own(ctx):
        raise TimeoutError

    async def quick(ctx):
        return 1
"""
ROUTES = {"slow": "slow.slow", "own": "slow.own", "quick": "slow.quick"}


async def test_what_takes_too_long_is_cancelled_and_answered(guarded: Guarded) -> None:
    chain = [use("timeout", {"after": 0.01})]
    async with guarded(packet_middleware=chain, routes=ROUTES, plugins={"slow": SLOW}) as gateway:
        client = await gateway.connect()
        assert await client.call("quick") == [1]
        assert await client.call("slow") == [
            {"error": {"code": "timeout", "message": "event 'slow' took too long"}}
        ]
        assert (await client.receive("cancelled")).args == []


async def test_a_time_out_of_the_handlers_own_is_its_fault(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    chain = [use("timeout", {"after": 60})]
    async with guarded(packet_middleware=chain, routes=ROUTES, plugins={"slow": SLOW}) as gateway:
        client = await gateway.connect()
        assert await client.call("own") == [
            {"error": {"code": "internal", "message": "internal error"}}
        ]
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR] == [
        "TimeoutError in event 'own'"
    ]
