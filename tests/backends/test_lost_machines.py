"""Ends that arrive: when a machine is lost, one of the others tells them to the backend."""

from __future__ import annotations

import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.backends.lost_machines import copied, ends, machines, reasons
from tests.backends.told import crowd, told_backend
from tests.daemon.gateway_of_workers import one_on_each, until_true
from tests.deadline import until
from tests.programs.redis import redis

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="workers need Linux")


async def test_one_of_the_others_tells_each_end_once(tmp_path: Path) -> None:
    async with (
        redis() as running,
        told_backend() as told,
        machines(tmp_path, running, told, 3) as (one, two, three),
        AsyncExitStack() as clients,
    ):
        lost = await crowd(clients, one.gateway.url, 150, ("/", "/a", "/b", "/c"))
        kept = await crowd(clients, two.gateway.url, 20)
        await told.has("connect", len(lost | kept))
        await one.kill()
        await told.until(lambda: ends(told).keys() >= lost)
        await two.sees(1)
        await three.sees(1)
        taken = [(await each.facts())["taken_over"] for each in (two, three)]
        assert sorted(taken) == [0, len(lost)]
        assert reasons(told) == {"member lost"}
        assert ends(told) == dict.fromkeys(lost, 1)
        known = {each["socket"]["id"]: each for each in told.of("connect")}
        for end in told.of("disconnect"):
            connect = known[end["socket"]["id"]]
            same = ("namespace", "socket", "connected_at")
            assert [end[key] for key in same] == [connect[key] for key in same]
            assert end["id"] == f"disconnect-{end['socket']['id']}"
            assert end["time"] > connect["time"]
        await one.start()  # it finds its file, whose ends were told
        await one.is_copied()
        more = await crowd(clients, one.gateway.url, 1)
        await told.has("connect", len(lost | kept | more))
        assert [*(tmp_path / "0/spool").glob("*.sqlite")] == [tmp_path / "0/spool/2.sqlite"]
        await clients.aclose()
        await told.until(lambda: ends(told).keys() >= lost | kept | more)
        assert ends(told) == dict.fromkeys(lost | kept | more, 1)


async def test_a_redis_that_was_emptied_makes_no_difference(tmp_path: Path) -> None:
    async with (
        redis() as running,
        told_backend() as told,
        machines(tmp_path, running, told, 2) as (one, two),
        AsyncExitStack() as clients,
    ):
        lost = await crowd(clients, one.gateway.url, 50, ("/", "/a"))
        await told.has("connect", len(lost))
        assert await running.command("FLUSHALL") == b"+OK"
        assert await copied(running, lost) == -1

        async def is_back() -> bool:
            return await copied(running, lost) == len(lost)

        await until_true(is_back)
        await one.kill()
        await told.until(lambda: ends(told).keys() >= lost)
        assert ends(told) == dict.fromkeys(lost, 1)
        assert (await two.facts())["taken_over"] == len(lost)
