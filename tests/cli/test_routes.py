from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.invoke import invoke
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


def test_routes_are_a_table(file: Path) -> None:
    result = invoke("routes", file)
    assert (result.exit_code, result.stderr) == (0, "")
    chain = "auth.auth -> limit.Limit"
    assert [line.split("  ") for line in _columns(result.stdout)] == [
        ["NAMESPACE", "EVENT", "CONNECTION CHAIN", "PACKET CHAIN", "HANDLER", "FILE"],
        ["/", "chat", chain, "auth.auth", "chat.Chat.index", "plugins/chat.py:3"],
        ["/", "* (any other event)", chain, "auth.auth", "chat.any", "plugins/chat.py:5"],
        ["/", "disconnect (gateway event)", "-", "-", "chat.left", "plugins/chat.py:7"],
        ["/quiet", "-", "auth.auth", "-", "-", "-"],
        [
            "/open",
            "chat",
            "-",
            "auth.auth -> limit.Limit -> schema",
            "chat.Chat.index",
            "plugins/chat.py:3",
        ],
        ["/open", "* (any other event)", "-", "auth.auth", "chat.any", "plugins/chat.py:5"],
    ]


def test_the_columns_stand_under_each_other(file: Path) -> None:
    head, *lines = invoke("routes", file).stdout.splitlines()
    at = head.index("HANDLER")
    assert {line[at - 2 : at] for line in lines} == {"  "}
    assert [line[at] for line in lines] == ["c", "c", "c", "-", "c", "c"]


def test_a_path_is_relative_only_where_that_is_shorter(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/usr/bin")
    assert str(file.parent / "plugins" / "chat.py:3") in invoke("routes", file).stdout


def test_json_is_for_programs(file: Path) -> None:
    told = json.loads(invoke("routes", file, "--format", "json").stdout)
    assert told["handshake_chain"] == []
    first, quiet, checked = told["namespaces"]
    assert first["namespace"] == "/"
    assert first["connection_chain"] == ["auth.auth", "limit.Limit"]
    assert first["packet_chain"] == ["auth.auth"]
    assert first["routes"][2] == {
        "event": "disconnect",
        "kind": "gateway event",
        "handler": "chat.left",
        "file": "plugins/chat.py",
        "line": 7,
        "middleware": [],
        "schema": False,
    }
    assert quiet["routes"] == []
    assert [route["schema"] for route in checked["routes"]] == [True, False]
    assert [route["middleware"] for route in checked["routes"]] == [["limit.Limit"], []]


def test_the_handshake_chain_is_above_the_table(tmp_path: Path) -> None:
    server = "server: {handshake_middleware: [auth, {use: limit.Limit, with: {most: 3}}]}\n"
    file = write(tmp_path, CONFIG + server, auth=AUTH, limit=LIMIT, chat=CHAT)
    chain, empty, head, *_ = invoke("routes", file).stdout.splitlines()
    assert (chain, empty) == ("HANDSHAKE CHAIN  auth.auth -> limit.Limit", "")
    assert head.startswith("NAMESPACE")
    told = json.loads(invoke("routes", file, "--format", "json").stdout)
    assert told["handshake_chain"] == ["auth.auth", "limit.Limit"]


def test_a_file_that_cannot_be_served_has_no_routes(tmp_path: Path) -> None:
    result = invoke("routes", write(tmp_path, "namespaces: {/: {routes: {chat: chat.index}}}"))
    assert (result.exit_code, result.stdout) == (78, "")
    assert "no plugin 'chat.index'" in result.stderr


def _columns(table: str) -> list[str]:
    """The lines with two blanks between cells, however many there were."""
    lines = table.splitlines()
    while any("   " in line for line in lines):
        lines = [line.replace("   ", "  ") for line in lines]
    return lines
