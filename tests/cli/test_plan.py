from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.cli.daemon_for_verbs import CONFIG, ask, asked
from tests.gateway_files import write
from tests.raw_client import raw

BAD_CONFIG = 78
PLUGINS = {
    "auth": "async def auth(ctx, next): await next()\n",
    "chat": "async def say(ctx): ...\nasync def shout(ctx): ...\n",
    "store": "class Store: ...\n",
}
BEFORE = (
    CONFIG
    + """\
  /chat:
    packet_middleware: [auth]
    routes: {say: chat.say, old: chat.say}
  /news: {routes: {say: chat.say}}
services:
  cache: store.Store
"""
)
AFTER = """\
server: {port: 0, path: /io/, ping_interval: 20s}
reload: {watch: "off", close_window: 1ms}
admin: {socket: admin.sock}
namespaces:
  /: {routes: {say: chat.say}}
  /chat:
    packet_middleware: [auth, auth]
    routes: {say: chat.shout, new: chat.say}
  /talk: {routes: {say: chat.say}}
services:
  store: store.Store
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write(tmp_path, BEFORE, **PLUGINS)


async def test_everything_that_would_change_is_a_line(file: Path) -> None:
    async with asked(file):
        write(file.parent, AFTER, **{**PLUGINS, "auth": PLUGINS["auth"] + "# changed\n"})
        result = await ask("plan", file)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "a reload would change:",
        "  ~ server.path: /socket.io/ -> /io/",
        "  ~ server.ping_interval: 25s -> 20s",
        "  - service 'cache'",
        "  + service 'store'",
        "  - /news",
        "  + /talk",
        "  ~ /chat packet_middleware: [auth] -> [auth, auth]",
        "  - /chat route 'old'",
        "  + /chat route 'new'",
        "  ~ /chat route 'say': chat.say -> chat.shout",
        "  ~ plugins/auth.py",
        "it would close no socket",
        "pending restart: server.path",
    ]


async def test_the_sockets_that_would_be_closed_are_counted(file: Path) -> None:
    async with asked(file) as url, AsyncExitStack() as stack:
        for namespace in ("/news", "/news", "/chat"):
            client = await stack.enter_async_context(raw(url))
            await client.join(namespace)
        write(file.parent, AFTER, **PLUGINS)
        result = await ask("plan", file, color=True)
    assert "\033[31mit would close 2 sockets of /news\033[0m\n" in result.stdout
    assert "\033[31m  - /news\033[0m\n" in result.stdout
    assert "\033[33mpending restart: server.path\033[0m\n" in result.stdout


async def test_nothing_is_changed_by_it(file: Path) -> None:
    async with asked(file):
        write(file.parent, AFTER, **PLUGINS)
        assert await _changes(file)
        assert await _changes(file)
        await ask("reload", file)
        assert await _changes(file) == []


@pytest.mark.parametrize("relative", [True, False])
async def test_the_file_that_is_served_would_change_nothing(file: Path, relative: bool) -> None:
    """However the daemon was told of it."""
    async with asked(Path(file.name) if relative else file):
        result = await ask("plan", file)
    assert (result.exit_code, result.stdout) == (
        0,
        "a reload would change nothing\nit would close no socket\n",
    )


async def test_another_file_may_be_compared(file: Path) -> None:
    """The admin block of that file, or --admin, tells which daemon is meant."""
    other = file.with_name("other.yaml")
    async with asked(file):
        other.write_text(AFTER)
        assert "+ /talk" in await _changes(other)
        other.write_text("namespaces: {/other: }")
        nowhere = await ask("plan", other)
        result = await ask("plan", other, "--admin", f"unix:{file.parent}/admin.sock")
    assert (nowhere.exit_code, nowhere.stderr) == (
        1,
        f"Error: {other} has no admin: block; add one to compare it with the daemon\n",
    )
    assert (result.exit_code, "  + /other\n" in result.stdout) == (0, True)


async def test_another_file_is_not_compared_on_a_port_without_a_token(
    file: Path, unused_tcp_port: int
) -> None:
    """What is imported for it would be what anybody on the machine likes."""
    on_port = f"admin: {{port: {unused_tcp_port}}}"
    write(file.parent, BEFORE.replace("admin: {socket: admin.sock}", on_port), **PLUGINS)
    other = file.with_name("other.yaml")
    other.write_text(AFTER.replace("admin: {socket: admin.sock}", on_port))
    async with asked(file):
        refused = await ask("plan", other)
        own = await ask("plan", file)
    assert refused.exit_code == 1
    assert refused.stderr == (
        f"Error: the daemon at http://127.0.0.1:{unused_tcp_port} refuses: no other file than the"
        " daemon's own is compared, since its plugins would be imported for anybody on this"
        " machine: set admin.token, or listen on admin.socket\n"
    )
    assert (own.exit_code, own.stderr) == (0, "")


async def test_a_file_that_would_not_be_served_is_refused_as_check_refuses_it(file: Path) -> None:
    async with asked(file):
        write(file.parent, BEFORE.replace("say: chat.say, old", "say: chat.sya, old"))
        result = await ask("plan", file)
        checked = await ask("check", file)
        annotated = await ask("plan", file, "--format", "github")
    assert (result.exit_code, result.stdout) == (BAD_CONFIG, "")
    assert result.stderr == checked.stderr.replace(f"{file.parent}/", "")
    assert annotated.exit_code == BAD_CONFIG
    assert annotated.stdout.startswith("::error file=gateway.yaml,line=8,col=")


async def test_json_is_for_programs(file: Path) -> None:
    async with asked(file):
        write(file.parent, AFTER, **PLUGINS)
        plan = json.loads((await ask("plan", file, "--format", "json")).stdout)
        write(file.parent, "namespaces: [")
        failed = await ask("plan", file, "--format", "json")
    assert plan.pop("changes")
    assert plan == {
        "removed": ["/news"],
        "pending": ["server.path"],
        "emptied": [],
        "closed": 0,
        "problems": [],
        "warnings": [],
    }
    assert failed.exit_code == BAD_CONFIG
    assert len(json.loads(failed.stdout)["problems"]) == 1


async def _changes(file: Path) -> list[str]:
    result = await ask("plan", file, "--format", "json")
    return list(json.loads(result.stdout)["changes"])
