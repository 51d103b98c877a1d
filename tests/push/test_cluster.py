"""Pushes to one of two gateways on a Redis: the sockets of both are reached."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest_asyncio

from tests.cli.invoke import invoke
from tests.daemon.gateway_of_workers import until_true
from tests.deadline import deadline
from tests.ports import free_port
from tests.programs.redis import Redis, redis
from tests.push.pushed_gateway import CONFIG, Api, Phone, pushed, write_gateway

ANN = {"namespace": "/shop", "users": ["ann"]}


class Cluster:
    """Two gateways, `one` and `other` being their apis, each with a phone of ann in `red`."""

    def __init__(self, stack: AsyncExitStack, folder: Path, redis: Redis) -> None:
        self._stack, self._folder, self._redis = stack, folder, redis
        self.files: list[Path] = []
        self.one: Api
        self.other: Api
        self.here: Phone
        self.there: Phone

    async def start(self) -> None:
        self.one, self.here = await self._gateway("one")
        self.other, self.there = await self._gateway("other")
        for api in (self.one, self.other):
            await until_true(partial(_knows_both, api))

    async def connect_to_other(self, user: str | None) -> Phone:
        return await self._connect(self._other_url, user)

    @property
    def phones(self) -> tuple[Phone, Phone]:
        return self.here, self.there

    @property
    def ids(self) -> list[str]:
        return sorted(phone.id for phone in self.phones)

    async def _connect(self, url: str, user: str | None, *rooms: str) -> Phone:
        phone = Phone()
        await phone.connect(url, user, *rooms)
        self._stack.push_async_callback(phone.close)
        return phone

    async def _gateway(self, name: str) -> tuple[Api, Phone]:
        folder = self._folder / name
        folder.mkdir()
        block = f'cluster: {{name: shop, redis: {{url: "{self._redis.url}"}}}}\n'
        config = CONFIG.replace("api:\n  port: 0", f"api:\n  port: {free_port()}")
        file = write_gateway(folder, config + block)
        self.files.append(file)
        api, info = await self._stack.enter_async_context(pushed(file))
        self._other_url = info.url
        return api, await self._connect(info.url, "ann", "red", name)


async def _knows_both(api: Api) -> bool:
    return bool((await api.get("sockets?namespace=/shop"))["total"] == 2)


@pytest_asyncio.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with redis() as running, AsyncExitStack() as stack:
        found = Cluster(stack, tmp_path, running)
        await found.start()
        yield found


async def test_an_emit_reaches_the_sockets_of_both(cluster: Cluster) -> None:
    both = {"sockets": 2, "missing_members": []}
    for target in (ANN, {"namespace": "/shop", "rooms": ["red"]}):
        assert await cluster.one.post("emit", {"target": target, "event": "paid"}) == both
        for phone in cluster.phones:
            assert await phone.next() == ("paid", [])
    for target in (
        {"namespace": "/shop", "sockets": [cluster.there.id]},
        {**ANN, "except": {"rooms": ["one"]}},
    ):
        body = {"target": target, "event": "there", "args": [{"$base64": "3q0="}]}
        answer = await cluster.one.post("emit", body)
        assert answer == {"sockets": 1, "missing_members": []}
        assert await cluster.there.next() == ("there", [b"\xde\xad"])
    body = {"target": {**ANN, "except": {"users": ["ann"]}}, "event": "nobody"}
    assert (await cluster.one.post("emit", body))["sockets"] == 0
    assert cluster.here.events.empty()


async def test_a_call_has_the_acks_of_both(cluster: Cluster) -> None:
    for phone, answer in zip(cluster.phones, ("here", "there"), strict=True):
        phone.answers = answer
    answer = await cluster.one.post("call", {"target": ANN, "event": "where", "timeout": 30})
    assert {each["socket"]: each["args"] for each in answer.pop("answers")} == {
        cluster.here.id: ["here"],
        cluster.there.id: ["there"],
    }
    assert answer == {"missing": [], "missing_members": []}


async def test_rooms_and_sockets_of_both_are_listed(cluster: Cluster) -> None:
    for api in (cluster.one, cluster.other):
        page = await api.get("sockets?namespace=/shop&user=ann")
        assert (page["total"], page["missing_members"]) == (2, [])
        assert [(each["id"], each["user"]) for each in page["sockets"]] == [
            (one, "ann") for one in cluster.ids
        ]
        for one in cluster.ids:
            assert (await api.get(f"sockets/{one}"))["id"] == one
        assert (await api.get("namespaces/shop/rooms"))["rooms"] == [
            {"room": "one", "sockets": 1},
            {"room": "other", "sockets": 1},
            {"room": "red", "sockets": 2},
        ]
        assert (await api.get("namespaces"))["namespaces"] == [
            {"namespace": "/", "sockets": 0},
            {"namespace": "/shop", "sockets": 2},
        ]


async def test_a_page_of_many_long_rooms_is_told_too(cluster: Cluster) -> None:
    """Together they would not fit in a message over Redis."""
    rooms = [f"{number:02}-{'x' * 300}" for number in range(90)]
    more = [await cluster.connect_to_other(None) for _ in range(60)]
    answer = await cluster.other.post(
        "join", {"target": {"namespace": "/shop", "all": True}, "rooms": rooms}
    )
    assert answer == {"sockets": 62}
    page = await cluster.one.get("sockets?namespace=/shop&limit=500")
    assert (page["total"], page["missing_members"]) == (62, [])
    ids = sorted([*cluster.ids, *(phone.id for phone in more)])
    assert [each["id"] for each in page["sockets"]] == ids


async def test_rooms_are_changed_and_sockets_disconnected_on_both(cluster: Cluster) -> None:
    for operation, total in (("join", 2), ("leave", 0)):
        body = {"target": ANN, "rooms": ["vip"]}
        assert await cluster.one.post(operation, body) == {"sockets": 2}
        page = await cluster.one.get("sockets?namespace=/shop&room=vip")
        assert page["total"] == total
    assert await cluster.one.post("disconnect", {"target": ANN}) == {"sockets": 2}
    for phone in cluster.phones:
        async with deadline():
            await phone.gone.wait()


async def test_the_command_reaches_the_other(cluster: Cluster) -> None:
    words = ["push", "emit", "--file", str(cluster.files[0]), "/shop", "paid", '{"order": 7}']
    result = await asyncio.to_thread(invoke, *words, "--room", "other")
    assert (result.exit_code, result.output) == (0, "sent to 1 socket\n")
    assert await cluster.there.next() == ("paid", [{"order": 7}])
