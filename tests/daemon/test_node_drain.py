"""A node that is stopped, or replaced by a new version, while polls reach it through another."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.cluster.round_robin import routed
from tests.daemon.gateway_of_workers import GatewayOfWorkers
from tests.daemon.nodes import (
    Somebody,
    figure,
    get,
    is_whole,
    node,
    numbers,
    opened,
    polling,
    port_of,
    somebody,
    until_cluster,
)
from tests.deadline import deadline, until
from tests.js_client import JsDriver
from tests.ports import free_port
from tests.programs.redis import redis

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="workers need Linux")

CLIENTS = 20


@asynccontextmanager
async def numbered(client: Somebody) -> AsyncIterator[None]:
    """Have it emit numbered events as long as the block lasts."""
    is_over = asyncio.Event()

    async def emit() -> None:
        while not is_over.is_set():
            await client.call("emit", len(client.numbers) + 1, 1)
            await asyncio.sleep(0.005)

    emitting = asyncio.create_task(emit())
    try:
        yield
    finally:
        is_over.set()
        await emitting


async def test_a_node_is_drained_while_polls_reach_it_through_another(
    tmp_path: Path, js: JsDriver
) -> None:
    """It takes nobody new, serves those that it has, and closes them one after the other."""
    notes, marker = tmp_path / "notes", tmp_path / "marker"
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(redis())
        http = await stack.enter_async_context(aiohttp.ClientSession())
        one = await stack.enter_async_context(node(tmp_path / "one", running, notes=notes))
        await until(lambda: notes.exists() and notes.read_text().endswith("\n"))
        two = await stack.enter_async_context(node(tmp_path / "two", running, notes=notes))
        await until_cluster(one, two, members=1, up=1)
        newcomers = one  # where new sessions go; all others go to `two`

        def choose(request: bytes) -> int:
            return port_of(two if b"sid=" in request.split(b"\r\n")[0] else newcomers)

        url = await stack.enter_async_context(routed(choose))
        clients = [
            await js.connect(url, transports=["polling"], reconnectionDelay=10)
            for _ in range(CLIENTS)
        ]
        assert await figure(one, "sockgw_sockets") == CLIENTS
        ann = await stack.enter_async_context(somebody(two))
        async with numbered(ann):
            await until(lambda: all(numbers(client)[0] for client in clients))
            await clients[0].emit("slow", str(marker))
            await until(marker.exists)
            one.process.send_signal(signal.SIGTERM)
            await one.logs("packets: waiting")
            assert await get(http, one, "/readyz") == 503
            async with http.get(polling(one)) as answer:
                assert answer.status == 503
            for client in clients:
                assert await client.call("pid") == [one.pid]
            assert "disconnect" not in {each.event for client in clients for each in client.log}
            newcomers = two  # as a balancer does that asks /readyz
            marker.unlink()
            for client in clients:
                await until(lambda client=client: len(numbers(client)) == 2)
                assert await client.call("pid") == [two.pid]
        assert await one.stopped() == 0
        await one.logs(f"clients: {CLIENTS} disconnected")
        await ann.call("emit", len(ann.numbers) + 1, 50)
        last = len(ann.numbers)
        assert ann.numbers == [*range(1, last + 1)]
        for client in clients:
            await until(lambda client=client: numbers(client)[-1][-1:] == [last])
            former, latter = numbers(client)
            assert is_whole(former)
            assert is_whole(latter)
            assert former[-1] < latter[0], "nothing twice"
            events = [each.event for each in client.log]
            assert "connect_error" not in events
        await until(lambda: notes.read_text().count("+") == 2)
        assert [each[0] for each in notes.read_text().split()] == ["+", "-", "+"]
        await until_cluster(two, members=0, up=0)
        for name in ("sockgw_bus_missed_total", "sockgw_bus_members_lost_total"):
            assert await figure(two, name) == 0
        assert await figure(two, 'sockgw_link_forwarded_total{result="owner_lost"}') == 0
        assert await figure(two, "sockgw_violations_total") == 0


class Polls:
    """A session by polling, each of whose requests goes to the node that is asked for."""

    def __init__(self, http: aiohttp.ClientSession, sid: str) -> None:
        self._http, self._sid = http, sid

    async def send(self, through: GatewayOfWorkers, packet: str) -> None:
        async with self._http.post(polling(through, self._sid), data=packet) as answer:
            assert (answer.status, await answer.text()) == (200, "ok")

    async def next(self, through: GatewayOfWorkers, begin: str) -> str:
        """Poll until a packet comes that begins with this; gives the rest of it."""
        async with deadline():
            while True:
                async with self._http.get(polling(through, self._sid)) as answer:
                    assert answer.status == 200
                    for packet in (await answer.text()).split("\x1e"):
                        if packet.startswith(begin):
                            return packet.removeprefix(begin)

    async def pid(self, through: GatewayOfWorkers) -> int:
        """The process that has it, asked and answered through a node."""
        await self.send(through, '421["pid"]')
        return int((await self.next(through, "431["))[:-1])


async def joined(
    http: aiohttp.ClientSession, gateway: GatewayOfWorkers, through: GatewayOfWorkers
) -> Polls:
    """Open a session at a node, and join through another."""
    polls = Polls(http, await opened(http, gateway))
    await polls.send(through, "40")
    await polls.next(through, "40")
    return polls


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_program_is_upgraded_while_polls_reach_it_through_another_node(
    tmp_path: Path, workers: int
) -> None:
    """Sessions of both processes are found, and only one of them runs what is once in all."""
    notes, marker = tmp_path / "notes", tmp_path / "marker"
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(redis())
        each_anew = aiohttp.TCPConnector(force_close=True)  # the former process serves on on others
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=each_anew))
        listen = f", port: {free_port()}" if workers == 1 else ""
        one = await stack.enter_async_context(
            node(tmp_path / "one", running, workers, listen, notes)
        )
        two = await stack.enter_async_context(node(tmp_path / "two", running))
        await until_cluster(two, members=workers, up=workers)
        await until(lambda: notes.exists() and notes.read_text().endswith("\n"))
        ann = await stack.enter_async_context(somebody(two))
        former = await joined(http, one, through=two)
        others = [await joined(http, one, through=two) for _ in range(4)]
        pids = {await each.pid(two) for each in (former, *others)}
        await former.send(two, f'42["slow","{marker}"]')
        await until(marker.exists)

        one.process.send_signal(signal.SIGUSR2)
        await one.logs("takes over after")
        await until_cluster(two, members=2 * workers, up=2 * workers)
        latter = await joined(http, one, through=two)
        assert await latter.pid(two) not in pids
        for through in (two, one):  # where requests for the port come to the new process
            assert await former.pid(through) in pids
            assert await latter.pid(through) not in pids
        await ann.call("emit", 1, 1)
        for each in (former, latter):
            assert await each.next(two, '42["n",') == "1]"
        assert len(notes.read_text().split()) == 1, "it is not moved before its process ends"
        marker.unlink()
        await until(lambda: len(notes.read_text().split()) == 3)
        first, ended, moved = notes.read_text().split()
        assert (first[0], ended, moved[0]) == ("+", f"-{first[1:]}", "+")
        assert await one.stopped() == 0
        await until_cluster(two, members=workers, up=workers)
        async with http.get(polling(two, former._sid)) as answer:
            assert answer.status == 400
        assert await latter.pid(two) not in pids
        for name in ("missed", "members_lost", "unpublished"):
            assert await figure(two, f"sockgw_bus_{name}_total") == 0
    assert not [line for line in one.lines + two.lines if " ERROR " in line]
