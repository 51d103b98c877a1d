"""The table of clients in docs/clients.md: each of them, on each transport."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.clients.gateway import CONFIG, PLUGIN
from tests.clients.install import install
from tests.clients.programs import CLIENTS, Client, checked
from tests.clients.relay import relay
from tests.daemon_in_loop import served
from tests.deadline import DEADLINE
from tests.gateway_files import write
from tests.ports import free_port

ROWS = [
    pytest.param(client, transport, id=f"{client}-{transport}")
    for client in CLIENTS
    for transport in ("polling", "websocket", "upgrade")
    if client.extra != "fetch" or transport != "websocket"  # which would fetch nothing
]

TEXT = 'plain, "quoted", \\, \0, \n and € 🦄 \u2028'
AUTH = {"token": "secret", "more": [1, {"a": None}]}
BINARY = [
    "bytes:" + bytes(range(256)).hex(),
    "bytes:0203",
    "between",
    {"deep": ["bytes:04", {"deeper": "bytes:0001"}]},
]

EVERYWHERE: dict[str, Any] = {
    "text": [TEXT, None, 1.5, [{"a": []}], ""],
    "binary": BINARY,
    "ack": [[TEXT], BINARY],
    "ask": [[TEXT], BINARY],
    "empty": ["bytes:", ""],
    "large": [True, 200_000],
    "burst": list(range(40)),
    "order": list(range(40)),
    "refused": ["log in first", {"code": "unauthorized", "data": {"try": ["again", 1]}}],
    "nowhere": ["Invalid namespace", None],
    "query": ["7 & ü"],
    "headers": ["yes"],
    "cookies": ["who=me"],
}
"""What every client gets on every transport."""


def expected(client: Client, transport: str) -> dict[str, Any]:
    """What a client gets, by check: the row of the table."""
    row = {
        "runtime": client.runtime,
        "transport": "polling" if transport == "polling" else "websocket",
        **EVERYWHERE,
        **(_in_python if client.is_python else _in_javascript)(client, transport),
    }
    if client.version == (5, 0) and transport != "polling":
        del row["empty"]  # its decoder drops an empty message
    if client.runtime == "Chrome" and transport == "websocket":
        del row["headers"]  # no browser lets a page set those of a WebSocket
    return row


def _in_javascript(client: Client, transport: str) -> dict[str, Any]:
    cut = "transport error" if transport == "polling" else "transport close"
    row = {
        "auth": [AUTH],
        "namespaces": [AUTH, 1, 2],
        "kicked": "io server disconnect",
        "left": ["io client disconnect", [1], True],
        "reconnect": [cut, [1], True],
        "forceBase64": [[TEXT, *BINARY], [TEXT, *BINARY], True],
        "protocols": [None if transport == "polling" else "chat", 1],
    }
    if client.version >= (4, 6):
        row["addTrailingSlash"] = [1]
    return row


def _in_python(client: Client, transport: str) -> dict[str, Any]:
    tells = client.version >= (5, 12)
    row = {
        "kicked": "server disconnect" if tells else None,
        "left": ["client disconnect" if tells else None, [1], True],
        "reconnect": ["transport error" if tells else None, [1], True],
    }
    if client.version >= (5, 1):
        row["auth"] = [AUTH]
        row["protocols"] = [None if transport == "polling" else "chat", 1]
    return row


@dataclass(frozen=True, slots=True)
class Gateways:
    """A gateway for each serializer, and the port that pages may come from."""

    json: str
    msgpack: str
    page_port: int


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateways(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateways]:
    port = free_port()
    json, msgpack = (
        write(tmp_path_factory.mktemp(name), CONFIG % (name, port), plugin=PLUGIN)
        for name in ("json", "msgpack")
    )
    async with served(json) as json_url, served(msgpack) as msgpack_url:
        yield Gateways(json_url, msgpack_url, port)


@pytest.fixture(scope="module")
def clients() -> None:
    install()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("client", "transport"), ROWS)
async def test_a_client_gets_what_it_should(
    client: Client, transport: str, gateways: Gateways, clients: None
) -> None:
    row = expected(client, transport)
    url = gateways.msgpack if client.extra == "msgpack" else gateways.json
    async with relay(int(url.rpartition(":")[2])) as cut:
        task = {
            "url": url,
            "relay": cut,
            "options": {
                "transports": ["polling", "websocket"] if transport == "upgrade" else [transport]
            },
            "upgrade": transport == "upgrade",
            "checks": list(row),
            "patience": DEADLINE,
        }
        assert await checked(client, task, gateways.page_port) == row


def test_the_documents_name_every_client() -> None:
    text = (Path(__file__).parents[2] / "docs/clients.md").read_text()
    assert [client.name for client in CLIENTS if f"| {client.name} |" not in text] == []
