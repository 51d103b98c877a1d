from __future__ import annotations

import json
import re
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path

import aiohttp
import pytest
from click.testing import Result

from tests.cli.conftest import ROOT, OpenTerminal
from tests.cli.daemon_for_verbs import CONFIG, ask, asked
from tests.deadline import until
from tests.gateway_files import write
from tests.raw_client import raw

PLUGINS = {
    "auth": "async def auth(ctx, next): await next()\n",
    "chat": "async def say(ctx): ...\n",
    "store": "class Store: ...\n",
}
SERVED = (
    CONFIG
    + """\
  /chat: {connection_middleware: [auth], routes: {say: chat.say}}
services: {store: store.Store}
"""
)
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write(tmp_path, SERVED, **PLUGINS)


def told(result: Result) -> dict[str, list[str]]:
    """The lines by their names; those below the first of a name belong to it."""
    facts: dict[str, list[str]] = {}
    name = ""
    for line in result.stdout.splitlines()[1:]:
        name = line[2:18].strip() or name
        facts.setdefault(name, []).append(line[18:])
    return facts


async def test_what_is_served_where_and_to_how_many(file: Path) -> None:
    async with asked(file) as url, AsyncExitStack() as stack:
        for namespace in ("/", "/chat", "/chat"):
            client = await stack.enter_async_context(raw(url))
            await client.join(namespace)
        result = await ask("status", file)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[0] == f"generation 1 serves at {url}"
    facts = told(result)
    assert re.fullmatch(r"[0-9a-f]{12}", facts.pop("digest")[0])
    for name in ("serves since", "started"):
        assert re.fullmatch(TIME, facts.pop(name)[0])
    assert re.fullmatch(rf"\d+, sockgw {version('sockgw')}", facts.pop("process")[0])
    assert facts == {
        "file": ["gateway.yaml"],
        "last reload": ["none"],
        "sockets": ["/: 1, /chat: 2"],
        "tasks": ["2 in generation 1"],
        "services": ["store"],
        "watcher": ["off"],
    }


async def test_what_was_refused_last_is_told_with_the_cure(file: Path) -> None:
    async with asked(file) as url, aiohttp.ClientSession() as http:
        for origin in ("http://a.example", "http://b.example", "http://b.example"):
            poll = f"{url}/socket.io/?EIO=4&transport=polling"
            async with http.get(poll, headers={"Origin": origin}) as answer:
                assert answer.status == 403
        result = await ask("status", file)
        listed = json.loads((await ask("status", file, "--format", "json")).stdout)["refused"]
    cure = "from 127.0.0.1: add it to server.cors_origins"
    lines = [re.sub(TIME, "TIME", line) for line in told(result)["refused"]]
    assert lines == [
        f"origin 'http://b.example', 2 times, last at TIME {cure}",
        f"origin 'http://a.example', once, at TIME {cure}",
    ]
    assert [(each["what"], each["count"]) for each in listed] == [
        ("origin 'http://b.example'", 2),
        ("origin 'http://a.example'", 1),
    ]


async def test_an_old_generation_is_told_as_long_as_it_is_used(file: Path) -> None:
    async with asked(file) as url, raw(url) as client:
        await client.join("/chat")
        write(file.parent, SERVED, chat="async def say(ctx): return 2\n")
        assert (await ask("reload", file)).exit_code == 0
        facts = told(await ask("status", file))
    assert facts["tasks"] == ["1 in generation 1, none in generation 2"]
    assert facts["still in use"] == ["generation 1 by 1 connected socket"]
    assert re.fullmatch(rf"applied at {TIME}, on request", facts["last reload"][0])


async def test_jobs_of_old_generations_are_told_and_until_when(file: Path) -> None:
    config = SERVED.replace("port: 0", "port: 0, stop_timeout: 1ms").replace(
        "routes: {say: chat.say}",
        "routes: {say: chat.say, build: {use: chat.build, timeout: 20m}, deaf: chat.deaf}",
        1,
    )
    config = config.replace("close_window: 1ms", "close_window: 1ms, drain: 1ms")
    write(file.parent, config, **{**PLUGINS, "chat": JOBS})
    async with asked(file) as url, raw(url) as client:
        await client.join()
        for event in ("build", "build", "deaf"):
            await client.send(f'42["{event}"]')
        await client.send('420["say"]')
        assert await client.receive() == "430[]"
        write(file.parent, config, chat=f"{JOBS}# two\n")
        assert (await ask("reload", file)).exit_code == 0
        await client.receive()  # that `deaf` was cancelled
        [told_first] = told(await ask("status", file))["still in use"]
        write(file.parent, config, chat=f"{JOBS}# three\n")
        assert (await ask("reload", file)).exit_code == 0
        [told_last] = told(await ask("status", file))["still in use"]
        assert told_first == told_last
    assert re.fullmatch(
        f"generation 1 by 2 packets until {TIME} at the latest and 1 cancelled packet not done yet",
        told_first,
    )


JOBS = """
import asyncio

async def build(ctx):
    await asyncio.Event().wait()

async def deaf(ctx):
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.Event().wait()

async def say(ctx): ...
"""


async def test_a_failed_reload_is_told_with_its_problems(file: Path) -> None:
    async with asked(file):
        write(file.parent, SERVED.replace("store.Store", "store.Stoer"))
        await ask("reload", file)
        facts = told(await ask("status", file))
        coloured = await ask("status", file, color=True)
    assert re.fullmatch(rf"failed at {TIME}, on request", facts["last reload"][0])
    assert facts["last reload"][1:] == [
        "gateway.yaml:7:19: services.store: no plugin 'store.Stoer', did you mean 'store.Store'?"
    ]
    assert "\033[31mgateway.yaml:7:19: services.store: no plugin" in coloured.stdout


async def test_what_waits_for_a_restart_is_told(file: Path) -> None:
    async with asked(file):
        write(file.parent, SERVED.replace("port: 0", "port: 0, path: /io/"))
        await ask("reload", file)
        assert told(await ask("status", file))["pending restart"] == ["server.path"]


async def test_a_daemon_that_serves_the_last_good_says_so(file: Path, tmp_path: Path) -> None:
    served = SERVED.replace("admin.sock", str(tmp_path / "admin.sock"))
    write(file.parent, served)
    async with asked(file):
        pass
    write(file.parent, served + "serves: {}\n")
    async with asked(file, last_good=True):
        result = await ask("status", file)
    assert told(result)["degraded"] == [
        "the file is broken; serving the last accepted one instead:",
        "gateway.yaml:8:1: serves: unknown key 'serves', did you mean 'services'?",
    ]


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("auto", "auto, file events arrive"),
        ("poll", "poll, no file events: checking periodically"),
    ],
)
async def test_how_changes_are_noticed_is_told(file: Path, mode: str, text: str) -> None:
    write(file.parent, SERVED.replace('"off"', mode))
    async with asked(file):
        assert told(await ask("status", file))["watcher"] == [text]


async def test_lines_fit_the_terminal(
    file: Path, terminal: OpenTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    names = [f"/a-namespace-with-a-name-{number}" for number in range(9)]
    block = "namespaces:\n" + "".join(f"  {name}:\n" for name in names)
    write(file.parent, SERVED.replace("namespaces:\n", block))
    async with asked(file) as url, AsyncExitStack() as stack:
        for name in names:
            client = await stack.enter_async_context(raw(url))
            await client.join(name)
        whole = (await ask("status", file)).stdout.split()
        shown = await terminal("status", str(file), COLUMNS="80")
        await until(lambda: shown.text.split() == whole)
    lines = shown.text.replace("\r", "").replace(f"{file.parent}/", "").splitlines()
    assert max(map(len, lines)) <= 80
    [sockets] = [number for number, line in enumerate(lines) if line.startswith("  sockets")]
    assert lines[sockets + 1].startswith(f"{' ' * 20}/a-namespace")


async def test_json_is_all_that_the_daemon_tells(file: Path) -> None:
    async with asked(file) as url:
        status = json.loads((await ask("status", file, "--format", "json")).stdout)
    assert (status["url"], status["generation"]) == (url, 1)
    assert len(status["digest"]) == 64


async def test_without_an_admin_block_nobody_can_be_asked(file: Path) -> None:
    write(file.parent, "namespaces: {/: }")
    result = await ask("status", file)
    assert (result.exit_code, result.stderr) == (
        1,
        (
            f"Error: {file} has no admin: block; to ask the daemon, "
            "add 'admin: {socket: admin.sock}' to it\n"
        ),
    )
