"""Requests that a client sends without waiting for answers: others have their turn in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from gateway.http.connection import AT_ONCE
from tests.hostile.byte_connection import Line, connected, get, post

REQUESTS = 1000

CONFIG = """
limits: {overload_after: unlimited, packets_per_second: unlimited}
namespaces:
  /:
    routes: {start: plugin.start, say: plugin.say, most: plugin.most}
"""

PLUGIN = """
import asyncio
from collections import Counter

turn, seen, counting = [0], Counter(), []

async def count():
    while True:
        await asyncio.sleep(0)
        turn[0] += 1

async def start(ctx):
    counting.append(asyncio.create_task(count()))

async def say(ctx):
    seen[turn[0]] += 1

async def most(ctx):
    counting.pop().cancel()
    return sum(seen.values()), max(seen.values())
"""


async def asked(line: Line, request: bytes) -> bytes:
    await line.send(request)
    answer = await line.answer()
    assert answer is not None
    assert answer.status == 200
    return answer.body


@pytest.mark.parametrize("cut", [2**20, 1500])
async def test_requests_of_one_client_do_not_fill_a_turn(
    gateway: Callable[..., AbstractAsyncContextManager[str]], cut: int
) -> None:
    async with (
        gateway(CONFIG, plugin=PLUGIN) as url,
        connected(int(url.rpartition(":")[2])) as line,
    ):
        sid = (await line.handshake("polling"))["sid"]
        mine = f"?EIO=4&transport=polling&sid={sid}"
        await asked(line, post(mine, b'40\x1e42["start"]'))
        await asked(line, get(mine))
        sent = post(mine, b'42["say"]') * REQUESTS
        sending = asyncio.create_task(
            send(line, [sent[at : at + cut] for at in range(0, len(sent), cut)])
        )
        for _ in range(REQUESTS):
            answer = await line.answer()
            assert answer is not None
            assert (answer.status, answer.body) == (200, b"ok")
        await sending
        await asked(line, post(mine, b'420["most"]'))
        handled, most = json.loads((await asked(line, get(mine))).removeprefix(b"430"))
    assert handled == REQUESTS
    assert most <= AT_ONCE


async def send(line: Line, pieces: list[bytes]) -> None:
    for piece in pieces:
        await line.send(piece)


async def test_a_connection_that_ends_meanwhile_is_forgotten(
    gateway: Callable[..., AbstractAsyncContextManager[str]],
) -> None:
    async with gateway(CONFIG, plugin=PLUGIN) as url:
        port = int(url.rpartition(":")[2])
        async with connected(port) as line:
            await line.send(get("?EIO=4&transport=polling", "X: y") * REQUESTS)
        async with connected(port) as line:
            assert (await line.handshake("polling"))["sid"]
