"""An editor with yaml-language-server completes, explains and checks the project of `init`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from gateway import builtin
from tests.cli.invoke import invoke
from tests.language_server import LanguageServer

MODELINE = "# yaml-language-server: $schema=gateway.schema.json\n"
CHAIN = "namespaces:\n  /:\n    packet_middleware:\n"
NUMBERS = count(1)  # of files: each is opened once
BUILT_INS = {f"builtin.{name}" for name in builtin.__all__}


@pytest.fixture
async def editor(tmp_path: Path, js_packages: None) -> AsyncIterator[LanguageServer]:
    assert invoke("init", tmp_path).exit_code == 0
    async with LanguageServer(tmp_path) as server:
        yield server


async def offered(editor: LanguageServer, text: str) -> list[str]:
    """What is offered at the end of a file."""
    name = f"{next(NUMBERS)}.yaml"
    await editor.open(name, MODELINE + text)
    *before, last = (MODELINE + text).split("\n")
    return await editor.completes(name, len(before) + 1, len(last) + 1)


async def wrong(editor: LanguageServer, text: str) -> list[str]:
    return await editor.open(f"{next(NUMBERS)}.yaml", MODELINE + text)


async def test_nothing_is_wrong_with_what_init_writes(
    editor: LanguageServer, tmp_path: Path
) -> None:
    assert await editor.open("gateway.yaml", (tmp_path / "gateway.yaml").read_text()) == []


async def test_every_key_is_offered_at_the_top(editor: LanguageServer, tmp_path: Path) -> None:
    keys = json.loads((tmp_path / "gateway.schema.json").read_text())["properties"].keys()
    assert keys <= {*await offered(editor, "")}
    assert keys - {"namespaces"} <= {*await offered(editor, "namespaces: {/: }\n")}


@pytest.mark.parametrize("block", ["server", "reload", "limits", "admin", "log"])
async def test_every_key_of_a_block_is_offered(
    editor: LanguageServer, tmp_path: Path, block: str
) -> None:
    schema = json.loads((tmp_path / "gateway.schema.json").read_text())
    keys = schema["$defs"][block]["properties"].keys()
    assert keys <= {*await offered(editor, f"{block}:\n  ")}


async def test_gateway_events_are_offered_among_routes(editor: LanguageServer) -> None:
    found = await offered(editor, "namespaces:\n  /:\n    routes:\n      ")
    assert {"disconnect", "disconnecting", "error", "*"} <= {*found}


@pytest.mark.parametrize("start", ["      - ", "      - use: "])
async def test_built_ins_are_offered_in_a_chain(editor: LanguageServer, start: str) -> None:
    found = await offered(editor, CHAIN + start)
    assert {*found} >= BUILT_INS
    assert "[object Object]" not in found


async def test_options_of_a_built_in_are_offered(editor: LanguageServer) -> None:
    use = CHAIN + "      - use: builtin.rate_limit\n        with:\n          "
    assert {"rate", "per", "burst", "by", "events"} <= {*await offered(editor, use)}
    assert await offered(editor, use + "by: ") == ["address", "event", "socket", "user"]
    other = CHAIN + "      - use: guard\n        with:\n          "
    assert "rate" not in await offered(editor, other)


async def test_keys_and_options_are_explained(editor: LanguageServer) -> None:
    text = (
        CHAIN + "      - use: builtin.rate_limit\n        with: {rate: 5}\nserver: {port: 7001}\n"
    )
    assert await editor.open("new.yaml", MODELINE + text) == []
    explained = (await editor.hover("new.yaml", 6, 16)).replace("\\", "")
    assert "The limit is `rate` in `per` seconds" in explained
    assert "The TCP port to listen on" in await editor.hover("new.yaml", 7, 11)


async def test_mistakes_are_told_in_our_words(editor: LanguageServer) -> None:
    text = CHAIN + (
        "      - use: builtin.rate_limit\n"
        "        with: {rate: fast, evnts: [say]}\n"
        "      - {use: builtin.timeout}\n"
        "    routes: {say: chat say}\n"
        "server: {port: x}\n"
    )
    assert sorted(await wrong(editor, text)) == [
        "6: Property evnts is not allowed.",
        "6: expected a number",
        '7: Missing property "with".',
        "8: expected a name such as chat.index, or {use: chat.index}",
        "9: expected a port from 0 to 65535",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "x-guard: &guard {use: builtin.timeout, with: {after: '${AFTER}'}}\n"
        + CHAIN
        + "      - *guard\n",
        CHAIN + "      - {use: builtin.rate_limit, with: {rate: 1.5, by: address}}\n",
        CHAIN + "      - builtin.log\n      - {use: own.guard, with: {any: [1, x]}}\n",
        'namespaces: {/: {routes: {"*": chat.any, disconnect: {use: chat.left}}}}\n',
        "namespaces: {/: {connection_middleware: [{use: builtin.ip_allow, with: {allow: [x]}}]}}\n",
    ],
)
async def test_what_is_right_is_not_called_wrong(editor: LanguageServer, text: str) -> None:
    assert await wrong(editor, text) == []
