"""What a backend is told of sockets: contents, order, outages, bounds and reloads."""

from __future__ import annotations

import asyncio
import json
import re
import stat
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from gateway.errors import ConfigError
from tests.backends.conftest import SECRET, Seen, Site, use
from tests.backends.test_operating import metrics
from tests.backends.told import crowd, gateway_files, told_backend
from tests.cli.daemon_for_verbs import ask, asked
from tests.daemon.gateway_of_workers import until_true
from tests.deadline import deadline, until
from tests.ports import free_port
from tests.raw_client import raw
from tests.reload.calling_client import caller

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def project(folder: Path, url: str, **sessions: Any) -> Path:
    """A gateway that tells of its sockets, with an admin listener for verbs."""
    return gateway_files(folder, url, more={"admin": {"socket": "admin.sock"}}, **sessions)


def rewrite(file: Path, **sessions: Any) -> None:
    """Change the block `sessions`; a value of `None` removes the key."""
    config = json.loads(file.read_text())
    block = config["backends"]["shop"].setdefault("sessions", {})
    block.update(sessions)
    file.write_text(json.dumps(config, indent=1))


def write_config(file: Path, change: Any) -> None:
    config = json.loads(file.read_text())
    change(config)
    file.write_text(json.dumps(config, indent=1))


async def facts(file: Path) -> dict[str, Any]:
    told = json.loads((await ask("backends", file, "--format", "json")).stdout)
    found: dict[str, Any] = told["backends"]["shop"]["sessions"]
    return found


async def test_a_backend_is_told_of_each_socket(tmp_path: Path) -> None:
    async with told_backend() as told:
        file = project(tmp_path, told.url)
        write_config(file, lambda config: config["backends"]["shop"].update(sign=SECRET))
        async with asked(file) as url:
            async with raw(url) as client:
                answer = await client.join("/a")
                await told.has("connect", 1)
            await told.has("disconnect", 1)
    connect, disconnect = told.messages
    assert isinstance(answer, str)
    sid = json.loads(answer[answer.index("{") :])["sid"]
    for message in (connect, disconnect):
        assert TIME.fullmatch(message.pop("time"))
        assert TIME.fullmatch(message["connected_at"])
    assert connect.pop("connected_at") == disconnect.pop("connected_at")
    socket = {"id": sid, "user": None, "address": "127.0.0.1"}
    one = {"namespace": "/a", "socket": socket}
    assert connect == {"type": "connect", "id": f"connect-{sid}", **one}
    end = {"type": "disconnect", "id": f"disconnect-{sid}", "reason": "transport close"}
    assert disconnect == {**end, **one}
    first = told.requests[0]
    assert first.path == "/sessions"
    assert first.headers["webhook-id"] == first.json["id"] == f"connect-{sid}-1"
    assert first.json["type"] == "sessions"
    for seen in told.requests:
        Webhook(SECRET).verify(seen.body, dict(seen.headers))


async def test_the_user_is_told_and_nothing_else_of_its_data(tmp_path: Path) -> None:
    named = {"/": {"user": "data.name", "connection_middleware": ["own.name"]}}
    async with told_backend() as told:
        file = gateway_files(tmp_path, told.url, more={"namespaces": named})
        (tmp_path / "plugins/own.py").write_text(
            "async def name(ctx, next):\n"
            "    ctx.socket.data.update(name='ann', token='hidden')\n"
            "    await next()\n"
        )
        async with asked(file) as url, caller(url):
            [connect] = await told.has("connect", 1)
            spool = [*(tmp_path / "spool").iterdir()]
            written = b"".join(each.read_bytes() for each in spool)
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in spool}
    assert connect["socket"]["user"] == "ann"
    assert set(connect["socket"]) == {"id", "user", "address"}
    assert b"ann" in written
    assert b"hidden" not in written
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700


async def test_refused_sockets_are_not_told_of(tmp_path: Path) -> None:
    async with told_backend() as told:
        file = gateway_files(tmp_path, told.url, more={"namespaces": {"/": {}, "/no": None}})
        (tmp_path / "plugins/own.py").write_text("async def no(ctx, next): pass\n")
        write_config(
            file,
            lambda config: config["namespaces"].update(
                {"/no": {"connection_middleware": ["own.no"]}}
            ),
        )
        async with asked(file) as url, raw(url) as client:
            answer = await client.join("/no")
            assert isinstance(answer, str)
            assert answer.startswith("44/no,")
            await client.join("/")
            await told.has("connect", 1)
    assert {each["namespace"] for each in told.messages} == {"/"}


async def test_namespaces_and_kinds_can_be_chosen(tmp_path: Path) -> None:
    async with told_backend() as told:
        file = project(
            *(tmp_path, told.url), namespaces=["/a", "b"], notify=["disconnect"], path="/x/sessions"
        )
        async with asked(file) as url:
            async with AsyncExitStack() as clients:
                await crowd(clients, url, 1, ("/", "/a", "/b", "/c"))
            await told.has("disconnect", 2)
    assert sorted((each["type"], each["namespace"]) for each in told.messages) == [
        ("disconnect", "/a"),
        ("disconnect", "/b"),
    ]
    assert {seen.path for seen in told.requests} == {"/x/sessions"}


async def test_what_waits_is_told_in_order_and_in_batches(tmp_path: Path) -> None:
    port = free_port()
    async with asked(project(tmp_path, f"http://127.0.0.1:{port}")) as url:
        for _ in range(3):
            async with AsyncExitStack() as clients:
                await crowd(clients, url, 50)
        async with told_backend(port) as told:
            await told.until(lambda: len(told.messages) >= 300)
            found = await metrics_of(tmp_path)
    ids = [each["socket"]["id"] for each in told.messages]
    assert len(told.messages) == 300
    for each in set(ids):
        assert [one["type"] for one in told.messages if one["socket"]["id"] == each] == [
            "connect",
            "disconnect",
        ]
    sizes = [len(seen.json["messages"]) for seen in told.requests]
    assert max(sizes) == 100
    assert found['sockgw_session_retries_total{backend="shop"}'] > 0


async def metrics_of(folder: Path) -> dict[str, float]:
    return await metrics(folder, "sockgw_s")


async def test_a_request_that_is_sent_again_is_the_same(tmp_path: Path) -> None:
    async with told_backend() as told:
        told.status = 500
        async with asked(project(tmp_path, told.url)) as url, AsyncExitStack() as clients:
            await crowd(clients, url, 1)
            await told.until(lambda: told.refused)
            await crowd(clients, url, 1)
            await told.until(lambda: len(told.refused) > 1)
            told.status = 200
            await told.has("connect", 2)
        first, *_ = told.requests
        assert [seen.body for seen in told.refused] == [first.body] * len(told.refused)
        assert {seen.headers["webhook-id"] for seen in told.refused} == {first.json["id"]}


async def test_a_backend_is_told_which_sockets_are_there(tmp_path: Path) -> None:
    async with told_backend() as told:
        file = project(tmp_path, told.url, alive="100ms", namespaces=["/a"])
        async with asked(file) as url:
            async with AsyncExitStack() as clients:
                await crowd(clients, url, 3, ("/", "/a"))
                await told.until(lambda: any(len(each["sockets"]) == 3 for each in told.alive))
                here = next(each for each in told.alive if len(each["sockets"]) == 3)
            await told.has("disconnect", 3)
            count = len(told.alive)
            async with caller(url, "/a"):
                await told.until(lambda: len(told.alive) > count)
    assert here["type"] == "alive"
    assert here["every_ms"] == 100
    assert set(here["sockets"]) == {each["socket"]["id"] for each in told.of("connect")[:3]}
    assert all(set(each["sockets"]).isdisjoint(here["sockets"]) for each in told.alive[count:])


async def test_the_oldest_are_dropped_when_the_spool_is_full(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    file = project(tmp_path, f"http://127.0.0.1:{port}", spool={"folder": "spool", "entries": 100})
    async with asked(file) as url:
        for _ in range(3):
            async with AsyncExitStack() as clients:
                await crowd(clients, url, 40)
        await until_facts(file, waiting=100, dropped=140)
        found = await metrics_of(tmp_path)
        async with told_backend(port) as told:
            await until_facts(file, waiting=0)
            later = told.messages[-100:]  # before that, what was on its way already
    assert found['sockgw_spool_entries{backend="shop"}'] == 100
    assert found['sockgw_session_messages_total{backend="shop",result="dropped"}'] == 140
    assert [each["type"] for each in later] == [
        *["disconnect"] * 20,
        *["connect"] * 40,
        *["disconnect"] * 40,
    ]
    assert "its spool is full" in caplog.text
    assert "raise backends.shop.sessions.spool.entries or" in caplog.text


async def until_facts(file: Path, **wanted: int) -> None:
    """Wait until the verb shows these counts."""

    async def are_there() -> bool:
        found = await facts(file)
        return all(found[key] == count for key, count in wanted.items())

    await until_true(are_there)


async def test_what_fails_of_it_holds_up_no_event(tmp_path: Path, site: Site) -> None:
    """A backend that hangs where it is told of sockets answers its events, one at a time."""
    hanging = asyncio.Event()

    async def hang(seen: Seen) -> web.StreamResponse:
        if seen.path == "/sessions":
            hanging.set()
            await asyncio.get_running_loop().create_future()
        return web.json_response(1)

    routes = {"namespaces": {"/": {"routes": {"buy": use("/buy")}}}}
    site.answer = hang
    file = gateway_files(tmp_path, site.url, more=routes)
    write_config(file, lambda config: config["backends"]["shop"].update(concurrency=1, queue=0))
    async with asked(file) as url, caller(url) as client:
        async with deadline():
            await hanging.wait()
        assert [await client.call("buy") for _ in range(25)] == [[1]] * 25


async def test_adding_the_block_tells_of_those_that_are_there(tmp_path: Path) -> None:
    async with told_backend() as told:
        file = project(tmp_path, told.url)
        block = json.loads(file.read_text())["backends"]["shop"]["sessions"]
        write_config(file, lambda config: config["backends"]["shop"].pop("sessions"))
        async with asked(file) as url, AsyncExitStack() as clients:
            sockets = await crowd(clients, url, 250)
            write_config(file, lambda config: config["backends"]["shop"].update(sessions=block))
            assert (await ask("reload", file)).exit_code == 0
            connects = await told.has("connect", 250)
            await clients.aclose()
            await told.has("disconnect", 250)
    assert {each["socket"]["id"] for each in connects} == sockets
    assert len(told.messages) == 500


async def test_changing_the_block_drops_no_socket_and_no_message(tmp_path: Path) -> None:
    async with told_backend() as told:
        file = project(tmp_path, told.url, namespaces=["/a"])
        async with asked(file) as url, AsyncExitStack() as clients:
            await crowd(clients, url, 5, ("/", "/a", "/b"))
            await told.has("connect", 5)
            told.status = 503
            late = await clients.enter_async_context(raw(url))
            await late.join("/a")
            await told.until(lambda: told.refused)
            rewrite(file, namespaces=["/a", "/b"], spool={"folder": "other"})
            assert (await ask("reload", file)).exit_code == 0
            told.status = 200
            await told.has("connect", 11)
            rewrite(file, namespaces=["/b"])
            assert (await ask("reload", file)).exit_code == 0
            await clients.aclose()
            await told.has("disconnect", 5)
            assert not (tmp_path / "spool/1.sqlite").exists()
    assert len(told.of("connect")) == 11
    assert {each["namespace"] for each in told.of("disconnect")} == {"/b"}


async def test_removing_the_block_drops_what_waits_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with told_backend() as told:
        told.status = 503
        file = project(tmp_path, told.url)
        async with asked(file) as url, caller(url) as client:
            await told.until(lambda: told.refused)
            write_config(file, lambda config: config["backends"]["shop"].pop("sessions"))
            assert (await ask("reload", file)).exit_code == 0
            await until(lambda: "1 messages that waited are dropped" in caplog.text)
            assert [each.name for each in (tmp_path / "spool").iterdir()] == ["owner"]
            assert not client.lost.is_set()


async def test_two_gateways_cannot_have_one_spool(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    spool = {"folder": str(tmp_path / "spool")}
    async with told_backend() as told:
        one = project(tmp_path / "one", told.url, spool=spool)
        two = project(tmp_path / "two", told.url)
        async with asked(one) as url, caller(url), asked(two):
            rewrite(two, spool=spool)
            answer = await ask("reload", two)
        async with asked(two) as url, caller(url):  # the first has ended
            await told.has("connect", 2)
    assert answer.exit_code == 78
    assert f"{tmp_path}/spool is in use by {one}, backend shop" in answer.output
    assert "backends.shop.sessions.spool.folder" in answer.output


async def test_a_folder_that_cannot_be_used_is_a_problem_at_its_place(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(ConfigError) as told:
        async with asked(project(tmp_path, "http://127.0.0.1:9")):
            pass
    [problem] = told.value.problems
    assert problem.path == "backends.shop.sessions.spool.folder"
    assert problem.message == f"{tmp_path}/spool cannot be used: File exists"


async def test_the_verb_shows_what_waits(tmp_path: Path) -> None:
    async with told_backend() as told:
        file = project(tmp_path, told.url)
        async with asked(file) as url, caller(url):
            await told.has("connect", 1)
            await until_facts(file, waiting=0, told=1)
            shown = await ask("backends", file)
    assert "  sessions  1 sockets, 1 told, 0 waiting, 0 dropped\n" in shown.stdout


async def test_cloud_events_have_the_messages_as_their_data(tmp_path: Path, site: Site) -> None:
    file = project(tmp_path, site.url, alive="50ms")
    write_config(file, lambda config: config["backends"]["shop"].update(format="cloudevents"))
    async with asked(file) as url, caller(url):
        await until(lambda: len({seen.headers["ce-type"] for seen in site.seen}) == 2)
    first = next(seen for seen in site.seen if seen.headers["ce-type"] == "io.sockgw.sessions")
    [message] = first.json
    assert message["type"] == "connect"
    assert first.headers["ce-source"] == "/sessions"
    assert first.headers["ce-id"] == first.headers["webhook-id"] == f"{message['id']}-1"
    assert first.headers["ce-time"] == message["time"]
    alive = next(seen for seen in site.seen if seen.headers["ce-type"] == "io.sockgw.alive")
    assert alive.json == [message["socket"]["id"]]
