"""Gateways of several workers, with a proxy before them or without."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from time import monotonic
from types import MappingProxyType

from bench.reloading.daemon import Daemon, running
from tests.ports import free_port
from tests.programs.proxies import haproxy, nginx

__all__ = ["PROXIES", "behind", "gateway", "pids", "served_by"]

PROXIES: Mapping[str, Callable[[Path, int], AbstractAsyncContextManager[int]]] = {
    "nginx": nginx,
    "HAProxy": haproxy,
}

CONFIG = """\
server: {{host: "{host}", port: {port}, workers: {workers}, trusted_proxies: ["::1"]}}
admin: {{socket: admin.sock}}
reload: {{watch: "off"}}
limits: {{connections_per_second: unlimited, bytes_per_second: unlimited}}
namespaces: {{/: {{routes: {{enter: room.enter, tell: room.tell, ask: room.ask}}}}}}
"""

PLUGIN = """\
async def enter(ctx):
    await ctx.socket.join("room")
    return ctx.gateway.member.number

async def tell(ctx, number: int):
    await ctx.namespace.to("room").emit("told", number)

async def ask(ctx, value):
    return value
"""

PATIENCE = 60.0
"""Seconds that workers have to serve."""


@asynccontextmanager
async def gateway(
    folder: Path,
    workers: int,
    host: str = "127.0.0.1",
    environ: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[tuple[Daemon, int]]:
    """Run a gateway with its files in `folder`; gives it and its port."""
    port = free_port()
    (folder / "plugins").mkdir(parents=True, exist_ok=True)
    (folder / "plugins/room.py").write_text(PLUGIN)
    file = folder / "gateway.yaml"
    file.write_text(CONFIG.format(host=host, port=port, workers=workers))
    async with running(file, os.sched_getaffinity(0), environ) as daemon:
        await daemon.listens()
        yield daemon, port


@asynccontextmanager
async def behind(proxy: str, folder: Path, workers: int) -> AsyncIterator[tuple[Daemon, int, str]]:
    """Run a gateway behind a proxy; gives it, its port at `::1` and the URL of the proxy."""
    async with (
        gateway(folder, workers, "::1") as (daemon, port),
        PROXIES[proxy](folder, port) as outside,
    ):
        yield daemon, port, f"https://127.0.0.1:{outside}"


async def pids(daemon: Daemon) -> dict[int, int]:
    """The process of each worker, by its number."""
    return {each["number"]: each["pid"] for each in (await daemon.admin.status())["workers"]}


async def served_by(daemon: Daemon, *but: int) -> None:
    """Wait until all workers serve, none in a process of `but`. Raises `TimeoutError`."""
    end = monotonic() + PATIENCE
    while monotonic() < end:
        workers = (await daemon.admin.status())["workers"]
        if all(each["state"] == "serving" and each["pid"] not in but for each in workers):
            return
        await asyncio.sleep(0.05)
    raise TimeoutError("a worker does not serve")
