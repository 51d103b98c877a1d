"""What becomes of a backend when the file changes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from gateway.backends.backend import HttpBackend
from gateway.testing import TestGateway
from tests.backends.conftest import Asking, Site, use
from tests.backends.raw_backend import read_request, serve_raw
from tests.backends.test_failures import OK, backend_of
from tests.deadline import deadline, until


def change(gateway: TestGateway, **changes: Any) -> None:
    """Change keys of the file, `None` removes one."""
    file: Path = gateway._file
    config = json.loads(file.read_text())
    config.update(changes)
    file.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


async def test_an_unchanged_block_keeps_its_connections_and_its_breaker(
    asking: Asking, site: Site
) -> None:
    async with asking(site.url) as gateway:
        await (await gateway.connect()).call("buy")
        before = backend_of(gateway)
        change(gateway, limits={"sockets": 10})
        await gateway.reload()
        assert backend_of(gateway) is before
        await (await gateway.connect()).call("buy")
        assert site.seen[0].request.transport is site.seen[1].request.transport


async def test_a_changed_block_is_another_backend_with_the_same_figures(
    asking: Asking, site: Site
) -> None:
    async with asking(site.url) as gateway:
        client = await gateway.connect()
        await client.call("buy")
        before = backend_of(gateway)
        change(gateway, backends={"shop": {"url": f"{site.url}/v2"}})
        await gateway.reload()
        after = backend_of(gateway)
        assert after is not before
        await client.call("buy")
        assert after.figures.outcomes["ok"] == 2
        await until(lambda: is_closed(before))
    assert [each.path for each in site.seen] == ["/buy", "/v2/buy"]
    assert site.seen[1].json["sequence"] == 2


def is_closed(backend: HttpBackend) -> bool:
    return backend._is_closed


async def test_a_call_ends_in_the_generation_it_began_in(asking: Asking) -> None:
    go_on = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await go_on.wait()
        writer.write(OK + b"Content-Length: 1\r\n\r\n7")
        await writer.drain()

    async with serve_raw(slow) as raw, asking(raw.url) as gateway:
        client = await gateway.connect(timeout=60)
        call = asyncio.create_task(client.call("buy"))
        before = backend_of(gateway)
        await until(lambda: before.figures.in_flight)
        change(gateway, backends=None, namespaces={"/": {}})
        await gateway.reload()
        assert not is_closed(before)
        go_on.set()
        async with deadline():
            assert await call == [7]
        await until(lambda: is_closed(before))


async def test_a_backend_of_a_connection_chain_stays_while_its_sockets_do(
    asking: Asking, site: Site
) -> None:
    namespace = {"connection_middleware": [use("/connect")]}
    async with asking(site.url, namespace) as gateway:
        client = await gateway.connect()
        before = backend_of(gateway)
        change(gateway, backends=None, namespaces={"/": {}})
        await gateway.reload()
        assert not is_closed(before)
        await client.disconnect()
        await until(lambda: is_closed(before))


async def test_a_plugin_can_ask_a_backend(tmp_path: Path, asking: Asking, site: Site) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "ask.py").write_text(
        "from gateway import Backend, Context\n\n\n"
        "class Ask:\n"
        "    def __init__(self, backend: Backend) -> None:\n"
        "        self.backend = backend\n\n"
        "    async def __call__(self, ctx: Context, text: str) -> object:\n"
        '        reply = await self.backend.call(ctx, "/own", type="question")\n'
        "        return [text, reply.ack]\n"
    )
    routes = {"buy": {"use": "ask.Ask", "with": {"backend": "shop"}}}
    async with asking(site.url, {"routes": routes}) as gateway:
        assert await (await gateway.connect()).call("buy", "x") == [["x", []]]
    assert (site.seen[0].path, site.seen[0].json["type"]) == ("/own", "question")
