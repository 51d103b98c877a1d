"""Who sends too fast is read from more slowly: it stays, a reload is felt, its end ends it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from math import inf
from pathlib import Path
from typing import Literal

import pytest

from gateway.engineio import pacing
from gateway.limits import TokenBucket
from tests.raw_client import raw
from tests.reload.edited_daemon import Running, running, until

Transport = Literal["polling", "websocket"]

CONFIG = """
reload: {{watch: "off"}}
limits: {{{limits}}}
namespaces:
  /: {{routes: {{say: plugin.say}}}}
  /closed: {{connection_middleware: [plugin.refuse]}}
"""

PLUGIN = """
from gateway import Reject

async def say(ctx, number):
    return number

async def refuse(ctx, next):
    raise Reject("no")
"""


@pytest.fixture(params=["polling", "websocket"])
def transport(request: pytest.FixtureRequest) -> Transport:
    chosen: Transport = request.param
    return chosen


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Running]:
    config = CONFIG.format(limits="packets_per_second: 5")
    async with running(tmp_path, config, plugin=PLUGIN) as daemon:
        yield daemon


async def test_it_is_not_taken_for_gone_meanwhile(tmp_path: Path, transport: Transport) -> None:
    """Its pongs come behind its packets, which take longer than it has to answer a ping."""
    pings = "server: {ping_interval: 100ms, ping_timeout: 1s}"
    config = pings + CONFIG.format(limits="packets_per_second: 5")
    async with (
        running(tmp_path, config, plugin=PLUGIN) as daemon,
        raw(daemon.url, transport) as client,
    ):
        await client.join()
        await client.send(*(['42["say",0]'] * 14), '421["say",1]')
        assert await client.receive() == "431[1]"


@pytest.mark.parametrize("rate", ["unlimited", "9000"])
async def test_a_reload_frees_who_waits(daemon: Running, transport: Transport, rate: str) -> None:
    """A thousand packets would take it three minutes."""
    counts = daemon.serving.sockets.engine.limits_met.counts
    async with raw(daemon.url, transport) as client:
        await client.join()
        packets = (f'42{number}["say",{number}]' for number in range(1000))
        sending = asyncio.create_task(client.send(*packets))
        await until(lambda: counts["packets_per_second"] > 0)
        daemon.config(CONFIG.format(limits=f"packets_per_second: {rate}"))
        assert (await daemon.reload()).result == "applied"
        await sending
        acks = [await client.receive() for _ in range(1000)]
        assert acks == [f"43{number}[{number}]" for number in range(1000)]


@pytest.mark.parametrize(("limit", "rate"), [("packets_per_second", 20), ("bytes_per_second", 250)])
async def test_a_reload_slows_down_who_was_free(
    tmp_path: Path, transport: Transport, limit: str, rate: int
) -> None:
    config = CONFIG.format(limits="packets_per_second: unlimited, bytes_per_second: unlimited")
    async with running(tmp_path, config, plugin=PLUGIN) as daemon:
        counts = daemon.serving.sockets.engine.limits_met.counts
        async with raw(daemon.url, transport) as client:
            await client.join()
            await client.send(*(['42["say",0]'] * 30), '421["say",1]')
            assert await client.receive() == "431[1]"
            assert counts[limit] == 0
            daemon.config(CONFIG.format(limits=f"{limit}: {rate}"))
            assert (await daemon.reload()).result == "applied"
            await client.send(*(['42["say",0]'] * 30), '421["say",1]')
            assert await client.receive() == "431[1]"
            assert counts[limit] > 0


@pytest.mark.parametrize("namespace", ["/", "/closed"])
async def test_coming_back_is_no_way_round(
    daemon: Running, transport: Transport, namespace: str
) -> None:
    """CONNECT counts, refused or not, and who comes back goes on where it was."""
    head = "" if namespace == "/" else f"{namespace},"
    counts = daemon.serving.sockets.engine.limits_met.counts
    async with raw(daemon.url, transport) as client:
        while not counts["packets_per_second"]:
            answer = await client.join(namespace)
            assert str(answer)[:2] == ("40" if namespace == "/" else "44")
            await client.send(f"41{head}")


class Held:
    """A session that is held."""

    def __init__(self) -> None:
        self.met: list[str] = []
        self.held: list[float] = []

    def count_limit(self, limit: str, why: object, key: str = "") -> None:
        self.met.append(f"{limit}: {why}")

    def hold(self, seconds: float) -> None:
        self.held.append(seconds)


async def test_who_has_left_waits_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "LONGEST", 0.001)
    bucket, session, rates = TokenBucket(), Held(), iter([1_000_000, 1_000_000, 2, 1, inf])
    bucket.refill(1_000_000, time.monotonic())
    bucket.tokens = -1e12
    waiting = pacing.paced(bucket, lambda: next(rates), session, "bytes_per_second")
    assert waiting is not None
    await waiting
    more = "more than 1000000 per second; it is read more slowly"
    assert session.met == [f"bytes_per_second: {more}"]
    assert session.held == [0.001, 0.001]
