"""Ends that arrive: when a machine is lost, one of the others tells them to the backend."""

from __future__ import annotations

import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.backends.lost_machines import copied, ends, is_done, machines, reasons
from tests.backends.told import crowd, told_backend
from tests.daemon.gateway_of_workers import one_on_each, until_true
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
        metrics = [await each.gateway.metrics() for each in (two, three)]
        line = 'sockgw_session_taken_over_total{backend="shop"} 600.0'
        assert [line in each for each in metrics].count(True) == 1
        assert all('sockgw_spool_copies{backend="shop"} 1.0' in each for each in metrics)
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


async def test_a_worker_alone_is_told_by_its_machine(tmp_path: Path) -> None:
    async with (
        redis() as running,
        told_backend() as told,
        machines(tmp_path, running, told, 2, workers=2) as (one, _),
        AsyncExitStack() as clients,
    ):
        found = await one_on_each(clients, one.gateway)
        await crowd(clients, one.gateway.url, 30)
        await told.until(lambda: len(told.messages) >= 30 + len(found))
        worker = (await one.gateway.workers())[0]
        known = {each["socket"]["id"] for each in told.of("connect")}
        lost = {each for each in known if each.startswith(worker["tag"])}
        os.kill(worker["pid"], signal.SIGKILL)
        await told.until(lambda: ends(told).keys() >= lost)
        assert reasons(told) == {"gateway lost"}
        assert ends(told) == dict.fromkeys(lost, 1)
        assert await is_done(running, lost)


async def test_a_machine_that_is_back_at_once_tells_its_ends_itself(tmp_path: Path) -> None:
    async with (
        redis() as running,
        told_backend() as told,
        machines(tmp_path, running, told, 2) as (one, two),
        AsyncExitStack() as clients,
    ):
        lost = await crowd(clients, one.gateway.url, 50)
        await told.has("connect", len(lost))
        await one.kill()
        await one.start()
        await told.until(lambda: ends(told).keys() >= lost)
        assert reasons(told) == {"gateway lost"}
        assert ends(told) == dict.fromkeys(lost, 1)
        assert await is_done(running, lost)
        assert (await two.facts())["taken_over"] == 0


async def test_a_machine_that_stops_in_order_tells_its_ends_itself(tmp_path: Path) -> None:
    async with (
        redis() as running,
        told_backend() as told,
        machines(tmp_path, running, told, 2) as (one, two),
        AsyncExitStack() as clients,
    ):
        lost = await crowd(clients, one.gateway.url, 50)
        await told.has("connect", len(lost))
        assert await one.gateway.stop() == 0
        await two.sees(0)
        assert ends(told) == dict.fromkeys(lost, 1)
        assert reasons(told) == {"server shutting down"}
        assert await running.command("KEYS *reap*") == b"*0"
        assert await running.command("SCARD shop-sessions") == b":1"
        assert await copied(running, lost) == -1


async def test_a_frozen_machine_that_returns_tells_its_sockets_anew(tmp_path: Path) -> None:
    async with (
        redis() as running,
        told_backend() as told,
        machines(tmp_path, running, told, 2) as (one, two),
        AsyncExitStack() as clients,
        AsyncExitStack() as stay,
    ):
        there = await crowd(clients, one.gateway.url, 50, ("/", "/a"))
        others = await crowd(stay, two.gateway.url, 5)
        await told.has("connect", len(there | others))
        one.gateway.process.send_signal(signal.SIGSTOP)
        await told.until(lambda: ends(told).keys() >= there)
        one.gateway.process.send_signal(signal.SIGCONT)
        anew = (await told.has("connect", 2 * len(there) + len(others)))[len(there | others) :]
        assert {each["id"] for each in anew} == {f"connect-{each}.2" for each in there}
        lost = {each["socket"]["id"]: each for each in told.of("disconnect")}
        assert all(each["connected_at"] > lost[each["socket"]["id"]]["time"] for each in anew)
        await one.is_copied()
        assert await copied(running, there, epoch=2) == len(there)
        assert await copied(running, there) == -1
        await one.sees(1)  # nor does it take the others for lost
        assert ends(told).keys() == there
        await clients.aclose()
        late = (await told.has("disconnect", 2 * len(there)))[len(there) :]
        assert {each["id"] for each in late} == {f"disconnect-{each}.2" for each in there}
        assert {each["connected_at"] for each in late} == {each["connected_at"] for each in anew}
        assert len(told.messages) == 4 * len(there) + len(others)


async def test_redis_is_frozen_while_a_machine_is_lost(tmp_path: Path) -> None:
    async with (
        redis() as running,
        told_backend() as told,
        machines(tmp_path, running, told, 2) as (one, two),
        AsyncExitStack() as clients,
    ):
        lost = await crowd(clients, one.gateway.url, 50)
        await told.has("connect", len(lost))
        running.freeze()
        late = await crowd(clients, two.gateway.url, 20)
        await told.has("connect", len(lost | late))  # which nobody waits for
        await one.kill()
        running.thaw()
        await told.until(lambda: ends(told).keys() >= lost)
        assert ends(told) == dict.fromkeys(lost, 1)
        assert reasons(told) == {"member lost"}

        async def has_its_own() -> bool:
            return await copied(running, late) == len(late)

        await until_true(has_its_own)


async def test_a_machine_that_takes_over_is_lost_before_it_has_told_all(tmp_path: Path) -> None:
    async with (
        redis() as running,
        told_backend() as told,
        machines(tmp_path, running, told, 3) as (one, two, three),
        AsyncExitStack() as clients,
    ):
        lost = await crowd(clients, one.gateway.url, 50)
        await told.has("connect", len(lost))
        told.status = 503
        await one.kill()
        taken = {0: two, 1: three}

        async def has_taken() -> bool:
            for number, each in list(taken.items()):
                if (await each.facts())["taken_over"] == len(lost):
                    await each.kill()
                    del taken[number]
                    return True
            return False

        await until_true(has_taken)
        told.status = 200
        await told.until(lambda: ends(told).keys() >= lost)
        [last] = taken.values()
        assert (await last.facts())["taken_over"] == len(lost)
        assert ends(told) == dict.fromkeys(lost, 1)
        assert reasons(told) == {"member lost"}
