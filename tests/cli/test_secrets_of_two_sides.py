"""Secrets of backends and of the api, put through everything that writes, by whoever wants them.

The backend is hostile: it sends back what it was sent, wherever an error message may show it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.backends.raw_backend import read_request, serve_raw
from tests.cli.invoke import invoke
from tests.cli.test_secrets import MARK, served
from tests.gateway_files import write
from tests.ports import free_port
from tests.raw_client import raw

SIGN = f"whsec_{MARK * 5}"
TOKEN = f"{MARK}-api-0123456789"
FIELD = f"Bearer {MARK}-of-a-backend"

CONFIG = """
server: {port: 0}
reload: {watch: "off"}
admin: {socket: admin.sock}
backends:
  shop:
    url: "URL"
    breaker: false
    sign: ["${SIGN}", "whsec_hushhushhushhushhushhushhushhushliteral="]
    headers: {set: {authorization: "${FIELD}", x-api-key: "hushhush-literal", x-note: "${NOTE}"}}
api:
  port: PORT
  tokens: [{name: shop, token: "${API}", scopes: [push]}]
namespaces:
  /:
    routes: {buy: {use: builtin.http, with: {backend: shop, path: /buy}}}
"""

ECHOES = [
    b"HTTP/1.1 500 %s\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 307 Go\r\nLocation: http://%s/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: 1\r\n\r\n<",
    b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nbad field %s\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n",
    b"HTTP/1.1 503 No\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n",
    b"%s\r\n\r\n",
]

BAD = [
    ("whsec_hushhush", "hushhush"),
    ('"${SIGN}"', '"${SIGN}*"'),
    ('"${SIGN}"', '"${SHORT}"'),
    ('"${SIGN}"', '{"${SIGN}": 1}'),
    ('authorization: "${FIELD}"', 'authorization: ["${FIELD}"]'),
    ('authorization: "${FIELD}"', 'authorization: "${FIELD}\\n"'),
    ('token: "${API}"', 'token: ["${API}"]'),
    ('token: "${API}"', 'token: "${SHORT}"'),
    ('token: "${API}"', 'token: "${API}", tokn: "${API}"'),
    (
        'token: "${API}", scopes: [push]}',
        'token: "${API}", scopes: [push]}, {name: shop, token: "${API}", scopes: [push]}',
    ),
]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    values = {"SIGN": SIGN, "API": TOKEN, "FIELD": FIELD, "NOTE": f"{MARK}-note", "SHORT": MARK}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "gateway.yaml"


@asynccontextmanager
async def echoing(file: Path) -> AsyncIterator[str]:
    """The text of the gateway's file, whose backend sends secrets back, each time otherwise."""
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        head = (await read_request(reader)).partition(b"\r\n\r\n")[0]
        found = dict(re.findall(rb"^([\w-]+): (.*?)\r?$", head, re.MULTILINE))
        found = {name.lower(): value for name, value in found.items()}
        secrets = (found[b"authorization"].split()[-1], found[b"x-api-key"], found[b"x-note"])
        assert all(MARK.encode() in each for each in secrets)
        writer.write(ECHOES[count % len(ECHOES)] % b" ".join(secrets))
        count += 1
        await writer.drain()

    async with serve_raw(serve) as backend:
        text = CONFIG.replace("URL", backend.url).replace("PORT", str(free_port()))
        write(file.parent, text)
        yield text


@pytest.mark.parametrize("log_format", ["console", "json"])
async def test_no_secret_of_a_backend_or_of_the_api_is_written(file: Path, log_format: str) -> None:
    told: dict[str, str] = {}

    async def ask(*words: str, status: int | None = 0) -> None:
        result = await asyncio.to_thread(invoke, *words)
        assert status in (None, result.exit_code), (words, result.output)
        told[f"{len(told)} {' '.join(words[:2])}"] = result.stdout + result.stderr

    path = str(file)
    async with echoing(file) as text:
        await ask("check", path)
        await ask("routes", path)
        await ask("audit", path, "--json", status=None)
        for _ in ECHOES:
            await ask("backends", "probe", "shop", path, status=1)
            await ask("backends", "probe", "shop", path, "--format", "json", status=1)
        async with served(file, "--log-format", log_format) as (run, url):
            async with raw(url) as client:
                await client.join()
                for number in range(len(ECHOES)):
                    await client.send(f'42{number}["buy"]')
                    told[f"ack {number}"] = await client.receive()
                    assert '"error"' in told[f"ack {number}"]
            told |= await _asked_of_the_api(re.search(r"port: (\d{4,})", text)[1])  # type: ignore[index]
            await ask("status", path, "--format", "json")
            await ask("backends", path)
            await ask("backends", path, "--format", "json")
            await ask("push", "emit", "/", "x", "--all", "--file", path)
            await ask("push", "join", "/", "x", "--all", "--file", path, status=None)
            other = text.replace('x-note: "${NOTE}"', 'x-note: "${NOTE}2"')
            other = other.replace("${SIGN}", f"{SIGN[:-8]}{MARK[::-1]}").replace(
                "${API}", "${API}2"
            )
            write(file.parent, other)
            await ask("plan", path)
            await ask("plan", path, "--format", "json")
            await ask("reload", path)
            for old, new in BAD:
                assert old in text
                write(file.parent, text.replace(old, new, 1))
                await ask("check", path, status=78)
                await ask("reload", path, status=78)
            await ask("status", path, "--format", "json")
            run.process.terminate()
            assert run.process.stderr is not None
            told["log"] = (await run.process.stderr.read()).decode()
            assert await run.process.wait() == 0
    assert {name: text for name, text in told.items() if MARK in text} == {}


async def _asked_of_the_api(port: str) -> dict[str, str]:
    """What the api answers to those who have no token, the wrong one, or put it elsewhere."""
    told = {}
    url = f"http://127.0.0.1:{port}"
    target = {"namespace": "/", "all": True}
    bodies = [{}, {"target": target}, {"target": target, "event": "connect"}, {"target": 1}]
    async with aiohttp.ClientSession() as http:
        for value in ("Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}x", f"Bearer {TOKEN}"):
            for number, body in enumerate(bodies):
                headers = {"Authorization": value}
                data = json.dumps(body)
                async with http.post(f"{url}/v1/emit", data=data, headers=headers) as answer:
                    told[f"api {value[:6]} {number}"] = f"{answer.headers}{await answer.text()}"
                async with http.get(f"{url}/v1/sockets/x", headers=headers) as answer:
                    told[f"api get {value[:6]}"] = f"{answer.headers}{await answer.text()}"
        async with http.get(f"{url}/openapi.json") as answer:
            told["openapi"] = await answer.text()
    return told


async def test_neither_config_nor_backend_shows_them_in_a_traceback(file: Path) -> None:
    from gateway.backends.backend import make_backends
    from gateway.config import load

    write(file.parent, CONFIG.replace("URL", "http://127.0.0.1:1").replace("PORT", "0"))
    config = load(file, os.environ)
    shown = (
        repr(config),
        repr(config.api),
        repr(config.backends),
        repr(make_backends(config.backends, 1, {})),
    )
    assert [text for text in shown if MARK in text] == []
