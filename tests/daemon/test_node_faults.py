"""What a cluster of daemons loses when one of them fails: as much as it counts."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.cluster.cut_wire import cut_wire
from tests.cluster.round_robin import routed
from tests.daemon.gateway_of_workers import GatewayOfWorkers, alive, run_workers, until_true
from tests.daemon.nodes import (
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
    written,
)
from tests.deadline import deadline, until
from tests.js_client import JsDriver
from tests.ports import free_port
from tests.programs.nats import Nats, nats
from tests.programs.redis import Redis, redis

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="workers need Linux")

Engine = Callable[[], AbstractAsyncContextManager[Redis | Nats]]

LOST = "sockgw_bus_members_lost_total"
MISSED = "sockgw_bus_missed_total"


async def test_a_worker_that_is_killed_is_gone_at_once_everywhere(
    tmp_path: Path, js: JsDriver
) -> None:
    """Those beside it see its end, and tell the others; its clients are back by themselves."""
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(redis())
        one = await stack.enter_async_context(node(tmp_path / "one", running, workers=2))
        two = await stack.enter_async_context(node(tmp_path / "two", running))
        await until_cluster(one, two, members=2)
        _, killed = sorted(each["pid"] for each in await one.workers())
        stays = await js.connect(two.url, namespace="/present", auth={"name": "stays"})
        while (
            await (
                back := await js.connect(
                    one.url, namespace="/present", auth={"name": "back"}, reconnectionDelay=10
                )
            ).call("pid")
        ) != [killed]:
            await back.close()
        while True:
            trial = AsyncExitStack()
            goes = await trial.enter_async_context(somebody(one, "goes", "/present"))
            if await goes.call("pid") == killed:
                break
            await trial.aclose()
        stack.push_async_callback(trial.aclose)
        ann = await stack.enter_async_context(somebody(two, "ann", "/present"))
        await ann.until_heard("+ann")
        assert await ann.call("listed") == {"count": 4, "missing": []}
        await ann.call("emit", 1, 50)
        for client in (stays, back):
            await until(lambda client=client: numbers(client)[-1][-1:] == [50])
        await until(lambda: goes.numbers[-1:] == [50])

        os.kill(killed, signal.SIGKILL)
        for gateway in (one, two):
            assert "its process has ended" in await gateway.logs("is gone")
        await ann.call("emit", 51, 50)
        await until(lambda: len(numbers(back)) == 2)
        await ann.until_heard("-goes")
        await one.all_serve(killed)
        await until_cluster(one, two, members=2)
        assert await ann.call("listed") == {"count": 3, "missing": []}
        await ann.call("emit", 101, 50)
        for client in (stays, back):
            await until(lambda client=client: numbers(client)[-1][-1:] == [150])
        assert numbers(stays) == [[*range(1, 151)]]
        assert ann.numbers == [*range(1, 151)]
        former, latter = numbers(back)
        assert former == goes.numbers == [*range(1, 51)]
        assert is_whole(latter)
        assert ann.heard.count("-goes") == 1
        assert [await figure(each, LOST) for each in (one, two)] == [1, 1]
        assert [await figure(each, MISSED) for each in (one, two)] == [0, 0]
        assert await figure(one, "sockgw_worker_restarts_total") == 1


async def test_a_node_that_is_killed_is_gone_within_its_lease(tmp_path: Path) -> None:
    """What waits for it ends, presence tells its leaves once, and its service runs elsewhere."""
    notes = tmp_path / "notes"
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(redis())
        http = await stack.enter_async_context(aiohttp.ClientSession())
        one = await stack.enter_async_context(node(tmp_path / "one", running, 2, notes=notes))
        await until(lambda: notes.exists() and notes.read_text().endswith("\n"))
        two = await stack.enter_async_context(node(tmp_path / "two", running, notes=notes))
        await until_cluster(one, two, members=2)
        await until_cluster(two, members=2, up=2)
        tags = {each["tag"] for each in await one.workers()}
        ann = await stack.enter_async_context(somebody(two, "ann", "/present"))
        eve = await stack.enter_async_context(somebody(one, "eve", "/present"))
        silent = await stack.enter_async_context(somebody(one, silent=True))
        asks = await stack.enter_async_context(somebody(two))
        for client in (ann, eve):
            await until(lambda client=client: {"+ann", "+eve"} <= {*client.heard})
        sid = await opened(http, one)
        relayed = await stack.enter_async_context(
            http.ws_connect(polling(two, sid).replace("polling", "websocket"))
        )
        await relayed.send_str("2probe")
        assert await relayed.receive_str() == "3probe"
        await eve.call("emit", 1, 50)
        call = await asks.begin("ask")
        await silent.asked.wait()
        waits = [await ann.begin("listed") for _ in range(2)]
        for each in waits:
            assert (await each)["count"] == 2

        killed, sids = one.processes(), [await opened(http, one) for _ in range(2)]
        os.killpg(one.pid, signal.SIGKILL)
        await until(lambda: not alive(killed))
        statuses: list[int] = []
        async with deadline():
            assert (await relayed.receive()).type is not aiohttp.WSMsgType.TEXT
        waits = [await ann.begin("listed"), await asks.begin("listed")]

        async def is_gone() -> bool:
            async with http.get(polling(two, sids[0])) as answer:
                statuses.append(answer.status)
                if answer.status == 503:
                    assert int(answer.headers["Retry-After"]) > 0
            return answer.status == 400

        await until_true(is_gone)
        assert {*statuses[:-1]} <= {503}
        async with http.post(polling(two, sids[1]), data="40") as answer:
            assert answer.status in (400, 503)
        found = await call
        assert found["answers"] == 1
        assert found["missing"]
        assert {*found["missing"]} <= tags, "the worker without such a socket may have answered"
        for each in waits:
            found = await each
            assert (found["count"], {*found["missing"]}) == (1, tags)
        await ann.until_heard("-eve")
        await until_cluster(two, members=0, up=0)
        assert await ann.call("listed") == {"count": 1, "missing": []}
        await until(lambda: notes.read_text().count("+") == 2)
        ended, held = notes.read_text().split()
        assert ended[1:] in tags
        assert held[1:] not in tags
        assert ann.numbers == [*range(1, 51)]
        await ann.call("emit", 51, 50)
        assert ann.numbers == [*range(1, 101)]
        assert ann.heard.count("-eve") == 1
        assert await figure(two, LOST) == 2
        assert await figure(two, MISSED) == 0


async def test_what_a_node_missed_while_it_was_stopped_is_counted(tmp_path: Path) -> None:
    """What waits for it in its connection arrives late; the rest is lost if that is cut."""
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(redis())
        wire = await stack.enter_async_context(cut_wire(running.port))
        behind = written(tmp_path / "one", f"redis://127.0.0.1:{wire.port}")
        one = await stack.enter_async_context(run_workers(behind))
        two = await stack.enter_async_context(node(tmp_path / "two", running))
        await until_cluster(one, two, members=1, up=1)
        far = await stack.enter_async_context(somebody(one))
        near = await stack.enter_async_context(somebody(two))
        await near.call("emit", 1, 50)
        await until(lambda: far.numbers[-1:] == [50])
        await far.call("emit", 51, 50)
        await until(lambda: near.numbers[-1:] == [100])

        one.process.send_signal(signal.SIGSTOP)
        try:
            await near.call("emit", 101, 50)  # these wait for it, but for the last ones
            wire.drops = {"from_redis"}
            await near.call("emit", 151, 50)
            await two.logs("is gone: nothing was heard of it for 10.5 s")
            wire.drops = set()
        finally:
            one.process.send_signal(signal.SIGCONT)
        await two.logs("is back")
        await one.logs("is away")
        await until_cluster(one, two, members=1, up=1)
        await far.call("emit", 201, 50)
        await until(lambda: near.numbers[-1:] == [250])
        await near.call("emit", 251, 50)
        await until(lambda: far.numbers[-1:] == [300])
        assert near.numbers == [*range(1, 301)]
        assert far.numbers == sorted({*far.numbers})
        lost = len(near.numbers) - len(far.numbers)
        assert lost >= 50
        assert [await figure(each, MISSED) for each in (one, two)] == [lost, 0]
        assert [await figure(each, LOST) for each in (one, two)] == [0, 1]


@pytest.mark.parametrize("engine", [redis, nats])
async def test_a_node_that_was_stopped_is_in_all_lists_again(
    tmp_path: Path, engine: Engine
) -> None:
    """Joins and leaves are told once, those of its return too."""
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(engine())
        one = await stack.enter_async_context(node(tmp_path / "one", running))
        two = await stack.enter_async_context(node(tmp_path / "two", running))
        await until_cluster(one, two, members=1, up=1)
        eve = await stack.enter_async_context(somebody(one, "eve", "/present"))
        ann = await stack.enter_async_context(somebody(two, "ann", "/present"))
        for client in (ann, eve):
            await until(lambda client=client: {"+ann", "+eve"} <= {*client.heard})
        await eve.call("emit", 1, 50)
        await until(lambda: ann.numbers[-1:] == [50])
        one.process.send_signal(signal.SIGSTOP)
        try:
            await ann.call("emit", 51, 50)
            asked = await ann.begin("listed")
            await two.logs("is gone: nothing was heard of it for 10.5 s")
            assert (await asked)["count"] == 1
            assert len((await asked)["missing"]) == 1
            await ann.until_heard("-eve")
            assert await ann.call("listed") == {"count": 1, "missing": []}
            await ann.call("emit", 101, 50)
            late = await eve.begin("emit", 151, 50)
        finally:
            one.process.send_signal(signal.SIGCONT)
        await late
        await two.logs("is back")
        await until(lambda: ann.heard.count("+eve") == 2)
        for client in (ann, eve):
            assert await client.call("listed") == {"count": 2, "missing": []}
        await until_cluster(one, two, members=1, up=1)
        await until(lambda: len(eve.numbers) == len(ann.numbers) == 200)
        assert sorted(eve.numbers) == ann.numbers == [*range(1, 201)]
        assert sorted(ann.heard) == ["+ann", "+eve", "+eve", "-eve"]
        assert sorted(eve.heard) == ["+ann", "+eve"]
        assert [await figure(each, LOST) for each in (one, two)] == [0, 1]
        assert [await figure(each, MISSED) for each in (one, two)] == [0, 0]


async def test_two_nodes_that_do_not_reach_each_other(tmp_path: Path, js: JsDriver) -> None:
    """Redis is there for both: nothing is lost. Requests that arrive at the wrong one are refused.

    A client that is not let upgrade stays on polling.
    """
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(redis())
        http = await stack.enter_async_context(aiohttp.ClientSession())
        ports = free_port(), free_port()
        wires = [
            await stack.enter_async_context(cut_wire(port, "127.0.0.2", port)) for port in ports
        ]
        one, two = [
            await stack.enter_async_context(
                node(tmp_path / str(port), running, listen=f", port: {port}, advertise: 127.0.0.2")
            )
            for port in ports
        ]
        await until_cluster(one, two, members=1, up=1)

        def choose(request: bytes) -> int:
            return port_of(two if b"transport=websocket" in request else one)

        url = await stack.enter_async_context(routed(choose))
        ann = await stack.enter_async_context(somebody(one))
        bob = await stack.enter_async_context(somebody(two))
        sid = await opened(http, one)
        for wire in wires:
            wire.drops = {"to_redis", "from_redis"}
        for gateway in (one, two):
            await gateway.logs("is down")
        async with http.get(polling(two, sid)) as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0
        eve = await js.connect(url)
        await until_true(lambda: has_refused(two, 2))
        await ann.call("emit", 1, 50)
        await until(lambda: bob.numbers[-1:] == [50])
        await bob.call("emit", 51, 50)
        await until(lambda: numbers(eve)[-1][-1:] == [100])
        assert await eve.call("pid") == [one.pid]
        assert not {"disconnect", "upgrade"} & {each.event for each in eve.log}
        for gateway in (one, two):
            links = (await gateway.status())["cluster"]["links"]
            assert (links["up"], links["down"]) == (0, 1)
            assert await figure(gateway, 'sockgw_links{state="down"}') == 1
            assert len([line for line in gateway.lines if "is down" in line]) == 1
        assert (await get(http, one, "/readyz")) == 200

        for wire in wires:
            wire.drops = set()
        await until_cluster(one, two, members=1, up=1)
        last = await js.connect(url)
        await last.receive("upgrade")
        assert await last.call("pid") == [one.pid]
        async with http.post(polling(two, sid), data="40") as answer:
            assert await answer.text() == "ok"
        await bob.call("emit", 101, 50)
        await until(lambda: numbers(eve)[-1][-1:] == numbers(last)[-1][-1:] == [150])
        for heard in (*numbers(eve), ann.numbers, bob.numbers):
            assert heard == [*range(1, 151)]
        for name in (MISSED, LOST, "sockgw_bus_unpublished_total"):
            assert [await figure(each, name) for each in (one, two)] == [0, 0]


async def has_refused(gateway: GatewayOfWorkers, count: int) -> bool:
    """True if a node has refused so many requests, since there was no link."""
    return await figure(gateway, 'sockgw_link_forwarded_total{result="no_link"}') >= count
