from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, OpenTerminal
from tests.cli.invoke import invoke
from tests.deadline import until
from tests.gateway_files import write

CONFIG = """
namespaces:
  /:
    connection_middleware: [auth, {use: limit.Limit, with: {most: 3}}]
    packet_middleware: [auth]
    routes:
      "*": chat.any
      chat: chat.Chat.index
      disconnect: chat.left
  /quiet:
    connection_middleware: [auth]
  /open:
    packet_middleware: [auth]
    routes:
      chat: {use: chat.Chat.index, schema: [], middleware: [{use: limit.Limit, with: {most: 3}}]}
      "*": chat.any
"""
AUTH = "async def auth(ctx, next):\n    await next()\n"
LIMIT = """
class Limit:
    def __init__(self, most: int) -> None: ...

    async def __call__(self, ctx, next): ...
"""
CHAT = """
class Chat:
    async def index(self, ctx): ...

async def any(ctx): ...

async def left(ctx, reason): ...
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write(tmp_path, CONFIG, auth=AUTH, limit=LIMIT, chat=CHAT)


TOLD = """\
/
  connection_middleware
    auth.auth
    limit.Limit with most: 3
  packet_middleware
    auth.auth
  routes
    chat: chat.Chat.index in plugins/chat.py:3
    *: chat.any in plugins/chat.py:5, for any other event
    disconnect: chat.left in plugins/chat.py:7, a gateway event

/quiet
  connection_middleware
    auth.auth
  no routes

/open
  packet_middleware
    auth.auth
  routes
    chat: chat.Chat.index in plugins/chat.py:3
      middleware
        limit.Limit with most: 3
      schema: checks the arguments
    *: chat.any in plugins/chat.py:5, for any other event
"""


def test_routes_are_a_tree(file: Path) -> None:
    result = invoke("routes", file)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == TOLD


SETTINGS = """
namespaces:
  /:
    packet_middleware:
      - {use: limit.Any, with: {of: ["say it", join, 5, true, null, {a: "1"}], token: "${WORD}"}}
    routes:
      "say it": {use: chat.any, timeout: 90s, order: serial, on_disconnect: cancel}
      chat: {use: limit.Say, with: {url: "redis://:${WORD}@host"}}
"""
ANY = """
class Any:
    def __init__(self, of: list[object], token: str) -> None: ...
    async def __call__(self, ctx, next): ...

class Say:
    def __init__(self, url: str) -> None: ...
    async def __call__(self, ctx): ...
"""


def test_options_are_shown_without_secrets(tmp_path: Path) -> None:
    file = write(tmp_path, SETTINGS, chat=CHAT, limit=ANY)
    plugins = tmp_path / "plugins"
    assert invoke("routes", file, WORD="hushhush").stdout.splitlines() == [
        "/",
        "  packet_middleware",
        '    limit.Any with of: ["say it", join, 5, true, null, {a: "1"}], token: ***',
        "  routes",
        f'    "say it": chat.any in {plugins}/chat.py:5',
        "      timeout: 90s",
        "      order: serial",
        "      on_disconnect: cancel",
        f"    chat: limit.Say with url: *** in {plugins}/limit.py:6",
    ]
    told = invoke("routes", file, "--format", "json", WORD="hushhush").stdout
    assert "hush" not in told
    assert json.loads(told)["namespaces"][0]["packet_middleware"][0]["options"]["token"] == "***"


@pytest.mark.parametrize("columns", [40, 80])
async def test_lines_fit_the_terminal(
    file: Path, terminal: OpenTerminal, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.chdir(ROOT)
    whole = invoke("routes", file).stdout.split()
    shown = await terminal("routes", str(file), COLUMNS=str(columns))
    await until(lambda: shown.text.split() == whole)
    folder = f"{file.parent}/plugins/"  # no line is broken within a word
    lines = shown.text.replace("\r", "").replace(folder, "").splitlines()
    assert max(map(len, lines)) <= columns


def test_nothing_is_wrapped_in_a_pipe(file: Path) -> None:
    assert invoke("routes", file, COLUMNS="30").stdout == TOLD


def test_what_plugins_print_is_not_among_the_results(tmp_path: Path) -> None:
    file = write(tmp_path, CONFIG, auth=f"print('imported')\n{AUTH}", limit=LIMIT, chat=CHAT)
    for verb in ("routes", "check"):
        result = invoke(verb, file, "--format", "json")
        assert (json.loads(result.stdout)["problems"], result.stderr) == ([], "imported\n")


def test_a_path_is_relative_only_where_that_is_shorter(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/usr/bin")
    assert str(file.parent / "plugins" / "chat.py:3") in invoke("routes", file).stdout


def test_json_is_for_programs(file: Path) -> None:
    told = json.loads(invoke("routes", file, "--format", "json").stdout)
    assert (told["handshake_middleware"], told["problems"], told["warnings"]) == ([], [], [])
    first, quiet, checked = told["namespaces"]
    assert first["namespace"] == "/"
    assert first["connection_middleware"] == [
        {"use": "auth.auth", "options": {}},
        {"use": "limit.Limit", "options": {"most": 3}},
    ]
    assert first["packet_middleware"] == [{"use": "auth.auth", "options": {}}]
    assert first["routes"][2] == {
        "event": "disconnect",
        "kind": "gateway event",
        "handler": "chat.left",
        "options": {},
        "file": "plugins/chat.py",
        "line": 7,
        "middleware": [],
        "timeout": 60.0,
        "order": "concurrent",
        "on_disconnect": "continue",
        "schema": False,
    }
    assert quiet["routes"] == []
    assert [route["schema"] for route in checked["routes"]] == [True, False]
    assert [route["middleware"] for route in checked["routes"]] == [
        [{"use": "limit.Limit", "options": {"most": 3}}],
        [],
    ]


def test_the_handshake_chain_comes_first(tmp_path: Path) -> None:
    server = "server: {handshake_middleware: [auth, {use: limit.Limit, with: {most: 3}}]}\n"
    file = write(tmp_path, CONFIG + server, auth=AUTH, limit=LIMIT, chat=CHAT)
    assert invoke("routes", file).stdout.startswith(
        "server\n  handshake_middleware\n    auth.auth\n    limit.Limit with most: 3\n\n/\n"
    )
    told = json.loads(invoke("routes", file, "--format", "json").stdout)
    assert [each["use"] for each in told["handshake_middleware"]] == ["auth.auth", "limit.Limit"]


def test_a_file_that_cannot_be_served_has_no_routes(tmp_path: Path) -> None:
    file = write(tmp_path, "namespaces: {/: {routes: {chat: chat.index}}}")
    result = invoke("routes", file)
    assert (result.exit_code, result.stdout) == (78, "")
    assert "no plugin 'chat.index'" in result.stderr
    result = invoke("routes", file, "--format", "json")
    assert (result.exit_code, result.stderr) == (78, "")
    assert json.loads(result.stdout)["problems"][0]["column"] == 33
