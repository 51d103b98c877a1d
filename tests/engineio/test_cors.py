"""Which pages may connect, by `cors_origins`. F14: where any may, none brings its credentials."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.engineio.echo_server import Server, Wire, connected, refused

Served = Callable[[Any], AbstractAsyncContextManager[Wire]]
ALLOW, CREDENTIALS = "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials"
HINT = "the origin of this page is not in server.cors_origins"
FORBIDDEN = refused(4, "Forbidden", HINT)


@pytest.fixture
def served(http: aiohttp.ClientSession) -> Served:
    """A client of a server with these `cors_origins`."""

    @asynccontextmanager
    async def served(origins: Any) -> AsyncIterator[Wire]:
        async with Server(cors_origins=origins) as server:
            yield Wire(server.port, http)

    return served


def origin_of(wire: Wire) -> str:
    return wire.url.removesuffix("/engine.io/")


@pytest.mark.parametrize("origins", ["same-origin", "*", ("http://a.example",)])
async def test_request_without_an_origin_passes(served: Served, origins: Any) -> None:
    async with served(origins) as wire:
        await wire.open()
        async with wire.streaming():
            pass


@pytest.mark.parametrize(
    "origin",
    ["http://a.example", "https://127.0.0.1:{port}", "http://127.0.0.1", "null", "", "nonsense"],
)
async def test_other_origins_are_forbidden(served: Served, origin: str) -> None:
    async with served("same-origin") as wire:
        headers = {"Origin": origin.format(port=origin_of(wire).rpartition(":")[2])}
        answer = await wire.poll(headers=headers)
        assert (answer.status, answer.body) == (403, FORBIDDEN)
        assert answer.reason == f"Forbidden: {HINT}"
        # Its browser may show the page why it is refused, which is no secret.
        assert answer.headers[ALLOW] == "*"
        assert CREDENTIALS not in answer.headers
        assert (await wire.request("OPTIONS", headers=headers)).status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await wire.http.ws_connect(f"{wire.url}?EIO=4&transport=websocket", headers=headers)


async def test_own_origin_is_allowed(served: Served) -> None:
    async with served("same-origin") as wire:
        headers = {"Origin": origin_of(wire)}
        answer = await wire.poll(headers=headers)
        assert answer.status == 200
        assert answer.headers[ALLOW] == origin_of(wire)
        assert answer.headers["Vary"] == "Origin"
        assert CREDENTIALS not in answer.headers
        await wire.http.ws_connect(f"{wire.url}?EIO=4&transport=websocket", headers=headers)


@pytest.mark.parametrize("host", ["Chat.Example", "chat.example:80"])
async def test_own_origin_is_known_by_the_host_header(served: Served, host: str) -> None:
    async with served("same-origin") as wire:
        headers = {"Host": host, "Origin": "http://chat.example"}
        assert (await wire.poll(headers=headers)).status == 200


async def test_request_without_a_host_has_no_origin_and_no_name_is_looked_up(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.getfqdn", pytest.fail)
    async with served("same-origin") as wire:
        head = "GET /engine.io/?EIO=4&transport=polling HTTP/1.0\nOrigin: http://a.example\n\n"
        async with connected(wire.port, head) as (reader, _):
            assert (await reader.read()).endswith(FORBIDDEN.encode())


async def test_headers_of_proxies_are_not_believed(served: Served) -> None:
    async with served("same-origin") as wire:
        headers = {
            "Origin": "https://a.example",
            "X-Forwarded-Host": "a.example",
            "X-Forwarded-Proto": "https",
            "Forwarded": "host=a.example;proto=https",
        }
        assert (await wire.poll(headers=headers)).status == 403


async def test_listed_origins_are_allowed_with_credentials(served: Served) -> None:
    async with served(("http://a.example", "http://b.example")) as wire:
        for origin in ("http://a.example", "http://b.example"):
            answer = await wire.poll(headers={"Origin": origin})
            assert answer.status == 200
            assert answer.headers[ALLOW] == origin
            assert answer.headers[CREDENTIALS] == "true"
            assert answer.headers["Vary"] == "Origin"
        answer = await wire.poll(headers={"Origin": "http://a.example.org"})
        assert (answer.status, answer.body) == (403, FORBIDDEN)


async def test_any_origin_is_allowed_without_credentials(served: Served) -> None:
    async with served("*") as wire:
        answer = await wire.poll(headers={"Origin": "http://a.example"})
        assert answer.headers[ALLOW] == "*"
        assert CREDENTIALS not in answer.headers


async def test_pages_may_read_why_they_are_refused(served: Served) -> None:
    async with served(("http://a.example",)) as wire:
        headers = {"Origin": "http://a.example"}
        for answer in (
            await wire.poll(transport="abc", headers=headers),
            await wire.poll(sid="abc", headers=headers),
        ):
            assert answer.status == 400
            assert answer.headers[ALLOW] == "http://a.example"


async def test_answers_differ_by_origin_for_caches_too(served: Served) -> None:
    async with served(("http://a.example",)) as wire:
        assert (await wire.poll()).headers["Vary"] == "Origin"


async def test_preflight_is_answered(served: Served) -> None:
    async with served(("http://a.example",)) as wire:
        asked = {
            "Origin": "http://a.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-token",
        }
        answer = await wire.request("OPTIONS", headers=asked)
        assert (answer.status, answer.body) == (204, "")
        assert answer.headers[ALLOW] == "http://a.example"
        assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST"
        assert answer.headers["Access-Control-Allow-Headers"] == "x-token"


async def test_a_list_does_not_refuse_the_own_origin(served: Served) -> None:
    async with served(("http://a.example",)) as wire:
        answer = await wire.poll(headers={"Origin": origin_of(wire)})
        assert answer.status == 200
        assert CREDENTIALS not in answer.headers


async def test_a_browser_may_remember_that_it_may_ask(served: Served) -> None:
    async with served("*") as wire:
        answer = await wire.request("OPTIONS", headers={"Origin": "http://a.example"})
        assert (answer.status, answer.headers["Access-Control-Max-Age"]) == (204, "7200")
