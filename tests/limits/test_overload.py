"""A loop that runs late: connections are refused first, then packets, then nothing is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.deadline import deadline
from tests.limits.limited_daemon import BUSY, REFUSED, ask, error
from tests.limits.plugin_hooks import stage
from tests.raw_client import raw

LIMIT = "overload_after"
GET = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
BUSY_ACK = json.dumps([BUSY], separators=(",", ":"))


@pytest.fixture(autouse=True)
def fresh_stage() -> Iterator[None]:
    stage.clear()
    yield
    stage.over.set()


async def knock(url: str) -> bytes:
    """The whole answer to one who is new."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(GET)
    answer = await reader.read()
    writer.close()
    return answer


async def let_in(url: str) -> None:
    """Knock until the gateway lets in who is new."""
    async with deadline():
        while not (await knock(url)).startswith(b"HTTP/1.1 200 "):
            pass


async def test_a_loop_that_was_late_once_refuses_who_is_new_but_no_packet(edge, caplog) -> None:
    async with edge(f"{LIMIT}: 500ms") as one, raw(one.url) as client, raw(one.url) as witness:
        await client.join()
        await witness.join()
        where = urlsplit(one.url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)

        async def come() -> None:
            for _ in range(3):  # the gateway has seen by then that it is late
                await asyncio.sleep(0)
            writer.write(GET)
            await witness.send('421["say",1]', "40/calm,")

        coming: list[asyncio.Task[None]] = []
        stage.between = lambda: coming.append(asyncio.create_task(come()))
        assert await ask(client, "once", 1.0) == []
        assert await witness.receive() == "431[1]"
        assert await witness.receive() == f"44/calm,{REFUSED}"
        refusal = await reader.read()
        writer.close()
        await coming[0]
        assert refusal.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in refusal
        await let_in(one.url)
        assert str(await witness.join("/calm")).startswith("40/calm,{")
        assert await one.met(LIMIT) >= 2
        assert any(line.startswith(f"limit {LIMIT} by ") for line in caplog.messages)


async def test_a_loop_that_stays_late_refuses_packets_too_until_it_is_not(edge) -> None:
    async with edge(f"{LIMIT}: 50ms") as one, raw(one.url) as client, raw(one.url) as witness:
        await client.join()
        await witness.join()
        await client.send('429["on",0.3]')
        for _ in range(5):
            await stage.laps.acquire()
        await witness.send('421["say",1]', '42["say",2]')
        refusal = await knock(one.url)
        assert await witness.receive() == f"431{BUSY_ACK}"
        assert await witness.receive() == error("say")
        assert refusal.startswith(b"HTTP/1.1 503 ")
        stage.over.set()
        assert await client.receive() == "439[]"
        await let_in(one.url)
        assert await ask(witness, "say", 3) == [3]
        assert await one.met(LIMIT) >= 3


async def test_without_the_limit_a_late_loop_refuses_nobody(edge) -> None:
    async with edge(f"{LIMIT}: unlimited") as one, raw(one.url) as client, raw(one.url) as witness:
        await client.join()
        await witness.join()
        await client.send('429["on",0.3]')
        for _ in range(5):
            await stage.laps.acquire()
        await witness.send('421["say",1]')
        assert (await knock(one.url)).startswith(b"HTTP/1.1 200 ")
        assert await witness.receive() == "431[1]"
        stage.over.set()
        assert await client.receive() == "439[]"
        assert await one.met(LIMIT) == 0
