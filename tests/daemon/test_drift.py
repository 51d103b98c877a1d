"""Daemons of one cluster that serve different files: their status, metrics and log tell."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from gateway.cluster import configurations
from gateway.cluster.bus import Channel, Kind
from gateway.cluster.nats import NatsBus, NatsServer
from gateway.cluster.redis import RedisBus
from gateway.cluster.redis_channels import Channels
from gateway.cluster.redis_connection import Server
from tests.cli.daemon_for_verbs import ask
from tests.cli.test_status import TIME, told
from tests.daemon.gateway_of_workers import edit, files, run_workers, until_true
from tests.daemon.test_cluster import ENGINES
from tests.daemon_in_loop import served
from tests.deadline import until
from tests.gateway_files import write
from tests.ports import free_port
from tests.programs.nats import Nats
from tests.programs.redis import Redis, redis

CONFIG = """
cluster: {{name: shop, {engine}: {{url: "{url}"}}}}
admin: {{port: {admin}}}
server: {{port: {port}, transports: [websocket]}}
reload: {{watch: "off"}}
namespaces:
  /: {{routes: {{say: plugin.say}}}}
"""

FORMER, NEW = "async def say(ctx): return 1\n", "async def say(ctx): return 2\n"


class Machine:
    """A daemon with a file of its own, and what it tells on its admin port."""

    def __init__(self, folder: Path, server: Redis | Nats, plugin: str) -> None:
        folder.mkdir()
        self.port = free_port()
        engine, _, _ = server.url.partition(":")
        ports = {"admin": self.port, "port": free_port()}
        text = CONFIG.format(engine=engine, url=server.url, **ports)
        self.file = write(folder, text, plugin=plugin)

    async def get(self, path: str) -> str:
        url = f"http://127.0.0.1:{self.port}{path}"
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            return await answer.text()

    async def cluster(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self.get("/-/status"))["cluster"]
        return found

    async def change(self, plugin: str) -> None:
        write(self.file.parent, self.file.read_text(), plugin=plugin)
        assert (await ask("reload", self.file)).exit_code == 0


@asynccontextmanager
async def machines(
    folder: Path, server: Redis | Nats, *plugins: str
) -> AsyncIterator[list[Machine]]:
    """Machines that know of each other what they serve."""
    made = [Machine(folder / str(each), server, text) for each, text in enumerate(plugins)]
    async with AsyncExitStack() as stack:
        for each in made:
            await stack.enter_async_context(served(each.file))

        async def know_each_other() -> bool:
            found = [(await each.cluster())["serving"] for each in made]
            return all(
                [each["fingerprint"] is not None for each in serving] == [True] * len(made)
                for serving in found
            )

        await until_true(know_each_other)
        yield made


async def until_count(machine: Machine, count: int) -> dict[str, Any]:
    """Wait until so many configurations are served; gives what the machine tells then."""
    found: dict[str, Any] = {}

    async def is_count() -> bool:
        found.update(await machine.cluster())
        return bool(found["configurations"] == count)

    await until_true(is_count)
    return found


def is_well(cluster: dict[str, Any]) -> bool:
    """Tell what the call of jq in the documents tells by its exit code."""
    document = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()
    found = re.search(r"sockgw status --format json \| jq -e '\.cluster \| (.+)'", document)
    assert found
    return all(holds(cluster, condition) for condition in found[1].split(" and "))


def holds(cluster: dict[str, Any], condition: str) -> bool:
    """Tell if `.key`, `.key == 1` or `(.key | length) == 1` holds."""
    found = re.fullmatch(r"\(?\.(\w+)( \| length\))?( == (\d+))?", condition)
    assert found, condition
    value = cluster[found[1]]
    value = len(value) if found[2] else value
    return bool(value == int(found[4]) if found[3] else value)


@pytest.mark.parametrize("engine", ENGINES)
async def test_status_and_metrics_tell_that_two_machines_serve_different_files(
    tmp_path: Path, engine: str
) -> None:
    async with ENGINES[engine]() as server, machines(tmp_path, server, FORMER, NEW) as (one, two):
        for each in (one, two):
            found = await until_count(each, 2)
            assert (found["drift"], found["versions"]) == ("", [found["serving"][0]["version"]])
            assert not is_well(found)
            assert found["differ_since"] >= max(each["since"] for each in found["serving"]) - 1
            assert "sockgw_cluster_configurations 2.0\n" in await each.get("/metrics")
        lines = told(await ask("status", one.file))
        [changing] = lines["changing"]
        assert re.fullmatch(f"2 configurations since {TIME}", changing)
        member = rf"[\w.-]+/1: [0-9a-f]{{8}} since {TIME}, version [\w.]+"
        assert [bool(re.fullmatch(member, each)) for each in lines["members"]] == [True, True]
        await one.change(NEW)
        for each in (one, two):
            found = await until_count(each, 1)
            assert (found["drift"], found["differ_since"]) == ("", None)
            assert is_well(found)
            assert not is_well({**found, "up": False})
            assert not is_well({**found, "versions": ["0.4.0", "0.5.0"]})
            assert "sockgw_cluster_configurations 1.0\n" in await each.get("/metrics")
        lines = told(await ask("status", one.file))
        assert len(lines["members"]) == 2
        assert not {"drift", "changing"} & lines.keys()


async def test_what_differs_for_too_long_is_drift(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sockgw.cluster")
    monkeypatch.setattr(configurations, "PATIENCE", 0.0)
    async with redis() as server, machines(tmp_path, server, FORMER, FORMER, NEW) as made:
        one = made[0]

        async def is_drift() -> bool:
            return (await one.cluster())["drift"] != ""

        await until_true(is_drift)
        cluster = await one.cluster()
        prints = [each["fingerprint"][:8] for each in cluster["serving"]]
        node = cluster["serving"][0]["node"]
        assert sorted(cluster["drift"].split("; ")) == sorted(
            {f"{each} on {node}" for each in prints}
        )
        lines = told(await ask("status", one.file))
        [drift] = lines["drift"]
        shares = re.escape(cluster["drift"])
        assert re.fullmatch(
            f"since {TIME}: {shares}; bring the same file and plugins to all", drift
        )
        rarest = min(prints, key=prints.count)
        assert [rarest in each for each in lines["members"]] == [True, False, False]
        await made[2].change(FORMER)
        await until_count(one, 1)
        assert "drift" not in told(await ask("status", one.file))
        await until(lambda: "all members of the cluster serve the same again" in caplog.messages)


async def test_workers_are_listed_each_and_differ_only_from_other_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a variable says, the number of workers here, is no difference."""
    monkeypatch.setenv("WORKERS", "2")  # the other daemon has an environment of its own
    async with redis() as server, AsyncExitStack() as stack:
        made = []
        for name in ("two", "one"):
            (tmp_path / name).mkdir()
            file = files(tmp_path / name, 1)
            edit(file, "workers: 1", 'workers: "${WORKERS:-1}"')
            edit(file, "namespaces", f'cluster: {{redis: {{url: "{server.url}"}}}}\nnamespaces')
            made.append(file)
        gateway = await stack.enter_async_context(run_workers(made[0]))
        await stack.enter_async_context(served(made[1]))
        found: dict[str, Any] = {}

        async def count(configurations: int) -> bool:
            found.update((await gateway.status())["cluster"])
            prints = [each["fingerprint"] for each in found["serving"]]
            return len(prints) == 3 and None not in prints and len({*prints}) == configurations

        await until_true(lambda: count(1))
        assert sorted(each["worker"] for each in found["serving"]) == [1, 1, 2]
        assert found["configurations"] == 1
        assert "sockgw_cluster_configurations 1.0\n" in await gateway.metrics()
        lines = told(await ask("status", made[0]))
        assert [each.partition(": ")[0].rpartition("/")[2] for each in lines["members"]] == [
            *("1", "1", "2")
        ]
        edit(made[1].parent / "plugins" / "own.py", '"one"', '"two"')
        assert (await ask("reload", made[1])).exit_code == 0
        await until_true(lambda: count(2))
        assert "sockgw_cluster_configurations 2.0\n" in await gateway.metrics()


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_member_of_a_later_version_is_told_apart_and_understood(
    tmp_path: Path, engine: str
) -> None:
    """What is all new in its messages is ignored, and what it adds to others."""
    async with ENGINES[engine]() as server, machines(tmp_path, server, FORMER) as [one]:
        own = (await one.cluster())["serving"][0]
        bus = later_member(server)
        answers: list[bytes] = []
        bus.receive = lambda channel, message: answers.append(message)
        bus.serve(["/"])
        bus.start()
        await until(lambda: bus.members)
        serves = {**own, "uid": bus.tag, "type": 107, "version": "99.0", "wire": 2, "more": [1]}
        opts = {"rooms": [], "except": [], "flags": {"later": True}}
        known = {"type": 100, "uid": bus.tag, "opts": opts}
        unknown = {"type": 250, "uid": bus.tag, "requestId": "b", "n": 2, "new": {"a": 1}}
        before, after = {"requestId": "a", "n": 1}, {"requestId": "c", "n": 3}
        for message in (serves, {**known, **before}, unknown, {**known, **after}):
            bus.publish(Channel(Kind.REQUEST, "/"), msgspec.msgpack.encode(message))
        await until(lambda: len([each for each in answers if b"requestId" in each]) == 2)
        answered = [each for each in map(msgspec.msgpack.decode, answers) if "requestId" in each]
        assert [(each["requestId"], each["uid"]) for each in answered] == [
            ("a", own["tag"]),
            ("c", own["tag"]),
        ]
        metrics = await one.get("/metrics")
        assert "sockgw_bus_undecodable_total 1.0\n" in metrics
        assert "sockgw_bus_missed_total 0.0\n" in metrics
        found = await one.cluster()
        assert (found["configurations"], found["versions"]) == (1, sorted([own["version"], "99.0"]))
        assert not is_well(found)
        lines = told(await ask("status", one.file))
        assert [each.partition(", ")[2] for each in lines["members"]].count(
            "version 99.0, wire 2"
        ) == 1
        await bus.close()


def later_member(server: Redis | Nats) -> Any:
    """The bus of another member of the cluster."""
    if isinstance(server, Nats):
        return NatsBus("later", NatsServer((server.url,)), "shop")
    return RedisBus("later", Server(port=server.port), Channels("shop", "later"))
