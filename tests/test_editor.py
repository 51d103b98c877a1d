"""An editor with yaml-language-server completes, explains and checks the project of `init`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from tests.cli.invoke import invoke
from tests.language_server import LanguageServer

MODELINE = "# yaml-language-server: $schema=gateway.schema.json\n"
CHAIN = "namespaces:\n  /:\n    packet_middleware:\n"
NUMBERS = count(1)  # of files: each is opened once
OF_EITHER = {"builtin.rate_limit", "builtin.request_id"}
OF_PACKETS = OF_EITHER | {
    f"builtin.{each}" for each in ("concurrency", "log", "timeout", "validate")
}
OF_CONNECTIONS = OF_EITHER | {
    f"builtin.{each}" for each in ("api_key", "http", "ip_allow", "jwt", "origin", "presence")
}
ROUTE = "namespaces:\n  /:\n    routes:\n      say:\n        use: chat.say\n        middleware:\n"
CHAINS = {
    "server:\n  handshake_middleware:\n": set(),
    CHAIN.replace("packet", "connection"): OF_CONNECTIONS,
    CHAIN: OF_PACKETS,
    ROUTE: OF_PACKETS,
}
HANDLERS = {"builtin.http", "builtin.jwt_refresh", "builtin.present"}


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


@pytest.mark.parametrize("start", ["- ", "- use: "])
@pytest.mark.parametrize("chain", CHAINS)
async def test_the_built_ins_that_fit_are_offered_in_a_chain(
    editor: LanguageServer, chain: str, start: str
) -> None:
    found = await offered(editor, f"{chain}          {start}")
    assert {each for each in found if each.startswith("builtin.")} == CHAINS[chain]
    assert "[object Object]" not in found


async def test_built_in_handlers_alone_are_offered_for_a_route(editor: LanguageServer) -> None:
    for form in ("say: ", "say:\n        use: "):
        found = await offered(editor, f"namespaces:\n  /:\n    routes:\n      {form}")
        assert {each for each in found if each.startswith("builtin.")} == HANDLERS


@pytest.mark.parametrize("chain", [chain for chain, fitting in CHAINS.items() if fitting])
async def test_options_of_a_built_in_are_offered(editor: LanguageServer, chain: str) -> None:
    use = chain + "          - use: builtin.rate_limit\n            with:\n              "
    assert {"rate", "per", "burst", "by", "events"} <= {*await offered(editor, use)}
    assert await offered(editor, use + "by: ") == ["address", "event", "socket", "user"]
    other = chain + "          - use: guard\n            with:\n              "
    assert "rate" not in await offered(editor, other)


async def test_the_keys_of_a_route_are_offered(editor: LanguageServer) -> None:
    found = await offered(editor, ROUTE.replace("middleware:\n", ""))
    assert {"middleware", "schema", "timeout", "order"} <= {*found}


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
        ROUTE + "          - builtin.log\n          - {use: builtin.timeout, with: {after: 2}}\n",
        CHAIN + "      - builtin.log\n      - {use: own.guard, with: {any: [1, x]}}\n",
        'namespaces: {/: {routes: {"*": chat.any, disconnect: {use: chat.left}}}}\n',
        "namespaces: {/: {connection_middleware: [{use: builtin.ip_allow, with: {allow: [x]}}]}}\n",
    ],
)
async def test_what_is_right_is_not_called_wrong(editor: LanguageServer, text: str) -> None:
    assert await wrong(editor, text) == []
