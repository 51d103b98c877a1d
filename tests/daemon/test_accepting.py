"""Workers that share a socket take equal shares of its connections, and nobody waits for it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from gateway.daemon.accepting import (
    FOR_OTHERS,
    IDLE,
    UNCOUNTED,
    AcceptRule,
    ConnectionCounts,
)
from gateway.daemon.listener import Address, Listener, PublicServer
from tests.daemon.gateway_of_workers import GatewayOfWorkers, files, run_workers, until_true
from tests.deadline import deadline
from tests.engineio.echo import echo_engine


@pytest.fixture
def counts() -> Iterator[ConnectionCounts]:
    counts = ConnectionCounts.new(3)
    yield counts
    os.close(counts.descriptor)


@asynccontextmanager
async def clients(gateway: GatewayOfWorkers, count: int) -> AsyncIterator[None]:
    """So many sockets, all connected at once."""
    url = f"{gateway.url}/socket.io/?EIO=4&transport=websocket"
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http, deadline():
        websockets = await asyncio.gather(*(http.ws_connect(url) for _ in range(count)))
        for each in websockets:
            await each.send_str("40")
            assert (await each.receive_str())[0] == "0"
            assert (await each.receive_str())[:2] == "40"
        yield


@pytest.mark.parametrize("workers", [2, 4])
async def test_long_connections_are_shared_evenly(tmp_path: Path, workers: int) -> None:
    async with run_workers(files(tmp_path, workers)) as gateway, clients(gateway, 200):
        counts = [each["sockets"] for each in await gateway.workers()]
        assert sum(counts) == 200
        # `bench.workers` holds the bar; here the machine may be busy
        assert max(counts) <= 1.5 * 200 / workers
        assert "sockgw_accept_pauses_total" in await gateway.metrics()


async def test_nobody_waits_for_a_worker_that_hangs(tmp_path: Path) -> None:
    async with run_workers(files(tmp_path)) as gateway:
        one, _ = await gateway.workers()
        os.kill(one["pid"], signal.SIGSTOP)
        try:
            async with clients(gateway, 60):
                pass
        finally:
            os.kill(one["pid"], signal.SIGCONT)


async def test_a_worker_that_is_started_again_gets_the_next_ones(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(run_workers(files(tmp_path)))
        await stack.enter_async_context(clients(gateway, 40))
        one, _ = await gateway.workers()
        os.kill(one["pid"], signal.SIGKILL)
        await gateway.all_serve(one["pid"])

        async def is_shared() -> bool:
            await stack.enter_async_context(clients(gateway, 5))
            new, other = await gateway.workers()
            return bool(new["sockets"] >= other["sockets"] / 2)

        await until_true(is_shared)


async def test_a_worker_has_a_share_before_its_first_connection(counts: ConnectionCounts) -> None:
    other = AcceptRule(counts, 2, lambda: False)
    assert other.allows(100)
    server = PublicServer(echo_engine().http_server("/"))
    server.rule = AcceptRule(counts, 1, lambda: False)
    site = await server.accept_on(Listener(server).bind(Address("server", "127.0.0.1", 0)))
    assert not other.allows(100)
    site.close()


async def test_workers_on_pythons_own_loop_share_a_socket(tmp_path: Path) -> None:
    (tmp_path / "uvloop.py").write_text("raise ModuleNotFoundError")
    async with run_workers(files(tmp_path, 4), path=tmp_path) as gateway, clients(gateway, 100):
        assert sum(each["sockets"] for each in await gateway.workers()) == 100


def test_a_worker_above_its_share_pauses(counts: ConnectionCounts) -> None:
    lags = False
    rule = AcceptRule(counts, 1, lambda: lags)
    assert rule.allows(0)
    assert rule.allows(100)  # alone
    counts.tell(2, 0)
    assert not rule.allows(10)
    assert rule.allows(2)
    counts.tell(2, 98)
    assert rule.allows(100)
    assert not rule.allows(120)
    counts.leave(2)
    assert rule.allows(120)
    lags = True
    assert not rule.allows(0)


def test_a_worker_helps_others_that_are_not_quick_enough(counts: ConnectionCounts) -> None:
    rule = AcceptRule(counts, 1, lambda: True)
    assert not rule.allows(10)
    rule.pause()
    rule.not_taken()
    assert [rule.allows(10) for _ in range(FOR_OTHERS + 1)] == [True] * FOR_OTHERS + [False]
    rule.pause()
    assert not rule.allows(10)
    assert rule.pauses == 2


def test_a_worker_that_takes_nothing_is_not_counted_for_a_moment(
    counts: ConnectionCounts,
) -> None:
    now = 50.0
    counts.tell(2, 10)  # hangs
    counts.tell(3, 90)
    rule = AcceptRule(counts, 1, lambda: False, lambda: now)

    def allows(count: int) -> bool:
        rule.pause()  # or it would help others
        return rule.allows(count)

    for others in range(IDLE):
        assert not allows(90)
        counts.tell(3, 90 + others)
        rule.not_taken()
    assert allows(90)
    assert not allows(120)  # worker 3 is counted
    now += 2 * UNCOUNTED
    assert not allows(90)
    rule.not_taken()
    assert allows(90)
    counts.tell(2, 11)
    rule.not_taken()
    assert not allows(90)
