"""`sockgw push`, with a daemon that runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import Result

from tests.cli.invoke import invoke
from tests.push.pushed_gateway import CONFIG, TOKENS, Phone, pushed, write_gateway

IN_A_FILE = CONFIG.replace("api:\n  port: 0", "api:\n  socket: api.sock")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_gateway(tmp_path, IN_A_FILE)


@pytest.fixture
async def phone(file: Path) -> AsyncIterator[Phone]:
    async with pushed(file) as (_, info):
        phone = Phone()
        await phone.connect(info.url, "ann", "red")
        yield phone
        await phone.close()


async def push(file: Path, *words: str) -> Result:
    verb, *rest = words
    return await asyncio.to_thread(invoke, "push", verb, "--file", str(file), *rest)


async def test_emit(file: Path, phone: Phone) -> None:
    result = await push(file, "emit", "/shop", "said", '"hello"', "7", "word", "--room", "red")
    assert (result.exit_code, result.output) == (0, "sent to 1 socket\n")
    assert await phone.next() == ("said", ["hello", 7, "word"])
    result = await push(file, "emit", "shop", "x", "--user", "eve", "--format", "json")
    assert json.loads(result.output)["sockets"] == 0
    for _ in range(2):
        await push(file, "emit", "/shop", "once", "--all", "--except-room", "blue", "--key", "k")
    await push(file, "emit", "/shop", "file", f"@{file}", "--socket", phone.id, "--volatile")
    assert await phone.next() == ("once", [])
    assert await phone.next() == ("file", [IN_A_FILE.encode()])


async def test_call(file: Path, phone: Phone) -> None:
    phone.answers = {"a": b"\x01"}
    result = await push(file, "call", "/shop", "there?", "--user", "ann")
    line = f'{phone.id} [{{"a":{{"$base64":"AQ=="}}}}]\n'
    assert (result.exit_code, result.output) == (0, line)
    never = asyncio.Event()

    async def wait(*args: object) -> None:
        await never.wait()

    phone._client.on("there?", wait, namespace="/shop")
    result = await push(file, "call", "/shop", "there?", "--all", "--timeout", "0.01")
    assert (result.exit_code, result.output) == (1, f"{phone.id} no answer\n")
    never.set()
    assert (await push(file, "call", "/shop", "there?", "--user", "eve")).exit_code == 1


async def test_join_leave_disconnect_and_sockets(file: Path, phone: Phone) -> None:
    result = await push(file, "join", "/shop", "blue", "green", "--user", "ann")
    assert result.output == "1 socket\n"
    await push(file, "leave", "/shop", "red", "green", "--all")
    result = await push(file, "sockets", "/shop", "--user", "ann")
    assert (result.exit_code, result.output) == (0, f"{phone.id} ann 127.0.0.1 blue\n")
    result = await push(file, "sockets", "/shop", "--limit", "1", "--format", "json")
    assert [each["id"] for each in json.loads(result.output)["sockets"]] == [phone.id]
    result = await push(file, "disconnect", "/shop", "--user", "ann", "--close")
    assert result.output == "disconnected 1 socket\n"
    await asyncio.wait_for(phone.gone.wait(), 60)


async def test_refusals(file: Path, phone: Phone) -> None:
    result = await push(file, "emit", "/shop", "x")
    text = (
        "Error: no_target: name rooms, users or sockets, or write all: true for the whole namespace"
    )
    assert (result.exit_code, result.stderr) == (1, f"{text} - at `$.target`\n")
    result = await push(file, "disconnect", "--all")
    assert (result.exit_code, result.stderr) == (1, "Error: name a namespace: /, /shop\n")
    result = await push(file, "emit", "/shop", "x", "--all", "--token", "wrong")
    text = "Error: unauthorized: a bearer token of api.tokens is needed\n"
    assert (result.exit_code, result.stderr) == (1, text)
    result = await push(file, "emit", "/shop", "x", "--all", "--format", "json", "--token", "wrong")
    assert json.loads(result.stdout)["error"].startswith("unauthorized")


async def test_a_daemon_that_is_named(file: Path) -> None:
    config = CONFIG.replace("  /:\n", "").replace("sockets", "")
    write_gateway(file.parent, config)
    async with pushed(file) as (api, _):
        words = ("disconnect", "/shop", "--all", "--api", api.url, "--token", TOKENS["shop"])
        assert (await push(file, *words)).output == "disconnected 0 sockets\n"
        words = ("disconnect", "--all", "--api", api.url)  # the only namespace
        assert (await push(file, *words)).output == "disconnected 0 sockets\n"
    result = await push(file, "disconnect", "--all", "--api", "http://127.0.0.1:1")
    assert result.stderr == "Error: no daemon can be reached at http://127.0.0.1:1\n"


def test_a_file_without_what_is_needed(tmp_path: Path) -> None:
    file = write_gateway(tmp_path, "namespaces: {/: }\n")
    result = invoke("push", "sockets", "--file", str(file))
    text = f"Error: {file} has no api: block; add one with tokens, see docs/push.md\n"
    assert (result.exit_code, result.stderr) == (1, text)
    file = write_gateway(tmp_path, CONFIG.replace("scopes: [push, read]", "scopes: [push]"))
    file.write_text(file.read_text().replace("scopes: [read]", "scopes: [push]"))
    result = invoke("push", "sockets", "/", "--file", str(file))
    text = "Error: no token in api.tokens has the scope read:/; add it to one\n"
    assert (result.exit_code, result.stderr) == (1, text)
    result = invoke("push", "sockets", "--file", str(tmp_path / "none.yaml"))
    assert result.exit_code == 78
