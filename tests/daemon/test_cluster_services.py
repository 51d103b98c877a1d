"""A service of which a cluster runs one, in daemons that stop or are killed: it moves."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.cli.daemon_for_verbs import ask
from tests.cli.test_status import told
from tests.daemon.gateway_of_workers import GatewayOfWorkers, run_workers, until_true
from tests.deadline import until
from tests.gateway_files import write
from tests.ports import free_port
from tests.programs.redis import Redis, redis

CONFIG = """
cluster: {{name: shop, redis: {{url: "{url}"}}}}
admin: {{port: {admin}}}
server: {{port: {port}, transports: [websocket], workers: {workers}}}
services:
  ticker: {{use: ticker.Ticker, scope: cluster, with: {{notes: "{notes}"}}}}
  store: ticker.Store
namespaces: {{/: }}
"""

PLUGIN = """
import fcntl, os

class Store: ...

class Ticker:
    def __init__(self, notes: str, gateway):
        self.notes, self.tag = notes, gateway.member.tag
    def note(self, sign):
        with open(self.notes, "a") as file:
            file.write(f"{sign}{self.tag}\\n")
    async def __aenter__(self):
        self.alone = open(f"{self.notes}.lock", "w")
        try:
            fcntl.flock(self.alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.note("two at a time: ")
        self.note("+")
        return self
    async def __aexit__(self, *error):
        self.note("-")
        self.alone.close()
"""


class Notes:
    """What the service has noted: that it began, or ended, with the tag of its member."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notes"
        self.path.touch()

    def lines(self) -> list[str]:
        return self.path.read_text().splitlines()

    async def begins_elsewhere(self, tag: str = "") -> str:
        """Wait until the service begins on another member; gives its tag."""
        await until(lambda: (self.lines() or [""])[-1][:1] == "+" and self.holder != tag)
        return self.holder

    @property
    def holder(self) -> str:
        return self.lines()[-1][1:]


@asynccontextmanager
async def cluster(
    folder: Path, notes: Notes, *workers: int
) -> AsyncIterator[tuple[Redis, list[Path], list[GatewayOfWorkers]]]:
    """Daemons with so many workers each; nobody has the lease before the first of them."""
    async with redis() as server, AsyncExitStack() as stack:
        await server.command("SET", "shop-lead", "free")
        found, made = [], []
        for number, count in enumerate(workers):
            (folder / str(number)).mkdir()
            ports = {"admin": free_port(), "port": free_port()}
            config = CONFIG.format(url=server.url, notes=notes.path, workers=count, **ports)
            made.append(write(folder / str(number), config, ticker=PLUGIN))
            found.append(await stack.enter_async_context(run_workers(made[-1])))
        yield server, made, found


async def tag_of(gateway: GatewayOfWorkers) -> str:
    """The tag of a daemon of one process, once it knows it."""
    found: dict[str, Any] = {}

    async def is_known() -> bool:
        found.update(await gateway.status())
        return bool(found["cluster"]["serving"])

    await until_true(is_known)
    tag: str = found["cluster"]["serving"][0]["tag"]
    return tag


async def until_told(
    gateways: dict[str, GatewayOfWorkers], files: dict[str, Path], holder: str
) -> None:
    """Wait until all say where the service runs: in `status`, by a metric, and to people."""

    async def is_told() -> bool:
        for tag, gateway in gateways.items():
            status, metrics = await gateway.status(), await gateway.metrics()
            here = tag == holder
            placed = {"ticker": {"scope": "cluster", "here": here, "member": holder}}
            held = f'sockgw_lease_held{{cluster="shop"}} {1.0 if here else 0.0}\n'
            if status["placed"] != placed or held not in metrics:
                return False
        return True

    await until_true(is_told)
    node = os.uname().nodename
    for tag, file in files.items():
        [services] = told(await ask("status", file))["services"]
        where = "here" if tag == holder else f"on {node}/1"
        assert services == f"store, ticker (runs {where})"


async def test_it_moves_when_its_daemon_stops_or_is_killed(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    async with cluster(tmp_path, notes, 1, 1, 1) as (_, made, found):
        gateways = {await tag_of(each): each for each in found}
        files = dict(zip(gateways, made, strict=True))
        first = await notes.begins_elsewhere()
        assert first == next(iter(gateways))
        await until_told(gateways, files, first)

        assert await gateways.pop(first).stop(signal.SIGTERM) == 0
        del files[first]
        second = await notes.begins_elsewhere(first)
        await until_told(gateways, files, second)

        await gateways.pop(second).stop(signal.SIGKILL)
        del files[second]
        third = await notes.begins_elsewhere(second)
        await until_told(gateways, files, third)

        assert await gateways.pop(third).stop(signal.SIGTERM) == 0
    assert notes.lines() == [f"+{first}", f"-{first}", f"+{second}", f"+{third}", f"-{third}"]


async def test_it_moves_between_workers_and_machines(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    async with cluster(tmp_path, notes, 2, 1) as (_, [file, _], [two, one]):
        first = await notes.begins_elsewhere()
        workers = {each["tag"]: each for each in await two.all_serve()}
        assert first in workers

        async def is_told() -> bool:
            status, metrics = await two.status(), await two.metrics()
            return (
                status["placed"]["ticker"] == {"scope": "cluster", "here": True, "member": first}
                and 'sockgw_lease_held{cluster="shop"} 1.0\n' in metrics
            )

        await until_true(is_told)
        [services] = told(await ask("status", file))["services"]
        assert services == f"store, ticker (runs on worker {workers[first]['number']})"
        os.kill(workers[first]["pid"], signal.SIGKILL)
        second = await notes.begins_elsewhere(first)
        for gateway in (one, two):
            await gateway.stop(signal.SIGTERM)
    lines = notes.lines()
    assert lines[:2] == [f"+{first}", f"+{second}"]
    assert not [each for each in lines if each.startswith("two")]


async def test_one_of_a_machine_is_told_too(tmp_path: Path) -> None:
    """Without a cluster; it runs on another worker when its own is gone."""
    notes = Notes(tmp_path)
    config = CONFIG.replace("scope: cluster", "scope: node").partition("\n")[2].partition("\n")[2]
    ports = {"admin": free_port(), "port": free_port()}
    file = write(tmp_path, config.format(notes=notes.path, workers=2, **ports), ticker=PLUGIN)
    async with run_workers(file) as gateway:
        first = await notes.begins_elsewhere()

        async def is_told(tag: str) -> bool:
            placed = (await gateway.status())["placed"]["ticker"]
            return bool(placed == {"scope": "node", "here": True, "member": tag})

        await until_true(lambda: is_told(first))
        [worker] = [each for each in await gateway.all_serve() if each["tag"] == first]
        [services] = told(await ask("status", file))["services"]
        assert services == f"store, ticker (runs on worker {worker['number']})"
        os.kill(worker["pid"], signal.SIGKILL)
        second = await notes.begins_elsewhere(first)
        await until_true(lambda: is_told(second))
        assert "sockgw_lease_held" not in await gateway.metrics()
        assert await gateway.stop(signal.SIGTERM) == 0
    assert not [each for each in notes.lines() if each.startswith("two")]
