"""Pushes to a gateway with workers: all sockets are reached, and a key counts for all."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from tests.daemon.gateway_of_workers import GatewayOfWorkers, run_workers
from tests.ports import free_port
from tests.push.pushed_gateway import CONFIG, Api, Phone, write_gateway

EVENT = {"target": {"namespace": "/shop", "users": ["ann"]}, "event": "paid"}


@asynccontextmanager
async def workers(folder: Path) -> AsyncIterator[tuple[GatewayOfWorkers, Api]]:
    server = f"server: {{port: {free_port()}, workers: 3, transports: [websocket]}}\n"
    config = CONFIG.replace("server: {port: 0}\n", f"{server}admin: {{port: {free_port()}}}\n")
    file = write_gateway(folder, config.replace("api:\n  port: 0", f"api:\n  port: {free_port()}"))
    async with run_workers(file) as gateway, aiohttp.ClientSession() as http:
        await gateway.all_serve()
        yield gateway, Api(http, (await gateway.logs("  api")).split()[0])


async def connected(stack: AsyncExitStack, gateway: GatewayOfWorkers, count: int) -> list[Phone]:
    """Phones of ann, on more than one worker."""
    phones = []
    for _ in range(count):
        phone = Phone()
        await phone.connect(gateway.url, "ann", "red")
        stack.push_async_callback(phone.close)
        phones.append(phone)
    assert len({phone.id[:5] for phone in phones}) > 1
    return phones


async def test_the_sockets_of_all_workers(tmp_path: Path) -> None:
    async with workers(tmp_path) as (gateway, api), AsyncExitStack() as stack:
        phones = await connected(stack, gateway, 9)
        large = "x" * 100_000  # more than goes in a message between the processes
        answer = await api.post("emit", {**EVENT, "args": [large]})
        assert answer == {"sockets": 9, "missing_members": []}
        for phone in phones:
            assert await phone.next() == ("paid", [large])
            phone.answers = large
        answer = await api.post("call", {**EVENT, "timeout": 30})
        assert {each["socket"] for each in answer["answers"]} == {phone.id for phone in phones}
        assert answer["answers"][0]["args"] == [large]
        found, after = [], ""
        for _ in range(3):
            page = await api.get(f"sockets?namespace=/shop&limit=4{after}")
            assert (page["total"], page["missing_members"]) == (9, [])
            found += [each["id"] for each in page["sockets"]]
            after = f"&after={page['next']}"
        assert found == sorted(phone.id for phone in phones)
        for phone in phones:
            assert (await api.get(f"sockets/{phone.id}"))["id"] == phone.id
        rooms = (await api.get("namespaces/shop/rooms"))["rooms"]
        assert rooms == [{"room": "red", "sockets": 9}]
        namespaces = (await api.get("namespaces"))["namespaces"]
        assert namespaces[1] == {"namespace": "/shop", "sockets": 9}
        status, code, _ = await api.refused("emit", {**EVENT, "event": "connect"})
        assert (status, code) == (422, "bad_request")
        assert await api.post("disconnect", {"target": EVENT["target"]}) == {"sockets": 9}
        for phone in phones:
            await phone.gone.wait()


async def test_a_key_counts_for_all_workers_and_survives_one(tmp_path: Path) -> None:
    async with workers(tmp_path) as (gateway, api), AsyncExitStack() as stack:
        phones = await connected(stack, gateway, 6)
        headers = {"Idempotency-Key": "order-1"}
        answers = await asyncio.gather(
            *(api.post("emit", EVENT, headers=headers) for _ in range(100))
        )
        assert answers == [{"sockets": 6, "missing_members": []}] * 100
        first = (await gateway.workers())[0]
        left = [phone for phone in phones if phone.id[:5] != first["tag"]]
        os.kill(first["pid"], signal.SIGKILL)
        await gateway.logs("was ended by SIGKILL")
        answer = await api.post("emit", EVENT, headers=headers)
        assert answer == answers[0]
        await api.post("emit", {**EVENT, "event": "end"})
        for phone in left:
            assert [(await phone.next())[0] for _ in range(2)] == ["paid", "end"]
        text = await gateway.metrics()
        assert 'sockgw_push_requests_total{operation="emit",status="200"} 102.0' in text
        assert "sockgw_push_replayed_total 100.0" in text


async def test_a_push_whose_worker_ends_says_so(tmp_path: Path) -> None:
    async with workers(tmp_path) as (gateway, api), AsyncExitStack() as stack:
        [phone, *_] = await connected(stack, gateway, 6)
        called, never = asyncio.Event(), asyncio.Event()

        async def wait(*args: object) -> None:
            called.set()
            await never.wait()

        phone._client.on("there?", wait, namespace="/shop")
        body = {"target": {"namespace": "/shop", "sockets": [phone.id]}, "event": "there?"}
        call = asyncio.create_task(api.refused("call", {**body, "timeout": 60}))
        await called.wait()
        os.kill((await gateway.workers())[0]["pid"], signal.SIGKILL)
        text = "worker 1 ended meanwhile: it may have been done or not"
        assert await call == (503, "unavailable", text)
        never.set()
        await gateway.all_serve()
        assert await api.post("emit", EVENT)
