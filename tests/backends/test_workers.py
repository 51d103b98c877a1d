"""Backends of a gateway with several workers: counts and states are those of the gateway."""

from __future__ import annotations

import json
import os
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.backends.conftest import Site
from tests.cli.daemon_for_verbs import ask
from tests.daemon.gateway_of_workers import files, run_workers
from tests.daemon.test_workers import one_on_each

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="workers need Linux")

BACKENDS = """
backends: {{shop: {{url: "{url}", concurrency: 5, queue: 3}}}}
"""


def asking_files(folder: Path, url: str) -> Path:
    """A gateway with two workers, whose event `buy` asks a backend."""
    file = files(folder)
    buy = "buy: {use: builtin.http, with: {backend: shop, path: /buy}}, pid: own.pid"
    text = file.read_text().replace("pid: own.pid", buy)
    file.write_text(text + BACKENDS.format(url=url))
    return file


async def test_workers_are_summed(tmp_path: Path, site: Site) -> None:
    file = asking_files(tmp_path, site.url)
    async with run_workers(file) as gateway, AsyncExitStack() as stack:
        for client in (await one_on_each(stack, gateway)).values():
            await client.call("buy")
            await client.call("buy")
        status = await gateway.status()
        text = await gateway.metrics()
        told = json.loads((await ask("backends", file, "--format", "json")).stdout)
    facts = status["backends"]["shop"]
    assert (facts["outcomes"]["ok"], facts["breaker"]) == (4, {"closed": 2})
    assert sum(facts["recent"]) == 4
    assert 'sockgw_backend_calls_total{backend="shop",outcome="ok"} 4.0' in text
    assert 'sockgw_backend_seconds_count{backend="shop"} 4.0' in text
    assert 'sockgw_backend_breaker{backend="shop",state="closed"} 2.0' in text
    assert told["backends"]["shop"]["state"] == "up"
    assert len({each.json["id"] for each in site.seen}) == 4


async def test_what_an_ended_worker_counted_stays(tmp_path: Path, site: Site) -> None:
    file = asking_files(tmp_path, site.url)
    async with run_workers(file) as gateway, AsyncExitStack() as stack:
        clients = await one_on_each(stack, gateway)
        for client in clients.values():
            await client.call("buy")
        assert 'sockgw_backend_seconds_count{backend="shop"} 2.0' in await gateway.metrics()
        pid = next(iter(clients))
        os.kill(pid, 9)
        await gateway.all_serve(pid)
        text = await gateway.metrics()
    assert 'sockgw_backend_calls_total{backend="shop",outcome="ok"} 2.0' in text
    assert 'sockgw_backend_seconds_count{backend="shop"} 2.0' in text
    assert 'sockgw_backend_breaker{backend="shop",state="closed"} 2.0' in text
