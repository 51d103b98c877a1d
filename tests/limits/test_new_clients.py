"""Who is new and finds no room: refused with a word on when to come back, others unharmed."""

from __future__ import annotations

import aiohttp
import pytest

from tests.deadline import deadline
from tests.limits.limited_daemon import REFUSED, ask
from tests.raw_client import raw

TRANSPORTS = pytest.mark.parametrize("transport", ["polling", "websocket"])


async def knock(url: str, transport: str) -> tuple[int, str | None]:
    """Ask for a session: the status of the answer, and its Retry-After."""
    path = f"{url}/socket.io/?EIO=4&transport={transport}"
    async with aiohttp.ClientSession() as http:
        if transport == "polling":
            async with http.get(path) as answer:
                return answer.status, answer.headers.get("Retry-After")
        try:
            async with http.ws_connect(path):
                return 200, None
        except aiohttp.WSServerHandshakeError as refusal:
            return refusal.status, (refusal.headers or {}).get("Retry-After")


def lines(caplog: pytest.LogCaptureFixture, limit: str) -> list[str]:
    return [each for each in caplog.messages if each.startswith(f"limit {limit} by ")]


@TRANSPORTS
@pytest.mark.parametrize("limit", ["sockets", "sockets_per_address"])
async def test_a_connection_too_many_is_refused_until_there_may_be_more(
    edge, caplog, limit: str, transport: str
) -> None:
    async with edge(f"{limit}: 1") as one, raw(one.url) as witness:
        await witness.join()
        assert await knock(one.url, transport) == (503, "1")
        assert await ask(witness, "say", 1) == [1]
        assert await one.met(limit) == 1
        assert len(lines(caplog, limit)) == 1
        await one.limit(f"{limit}: 2")
        assert await knock(one.url, transport) == (200, None)


@TRANSPORTS
async def test_a_place_that_was_left_is_free(edge, transport: str) -> None:
    async with edge("sockets: 2") as one, raw(one.url) as witness:
        await witness.join()
        async with raw(one.url, transport) as other:
            await other.join()
            assert await knock(one.url, transport) == (503, "1")
            await other.send("1")
        async with deadline():
            while await knock(one.url, transport) != (200, None):
                assert await ask(witness, "say", 1) == [1]


@TRANSPORTS
async def test_a_rush_of_connections_is_refused_for_a_while(edge, caplog, transport: str) -> None:
    limit = "connections_per_second"
    async with edge(f"{limit}: 1") as one, raw(one.url) as witness:
        await witness.join()
        async with deadline():
            while (answer := await knock(one.url, transport))[0] == 200:
                pass
            assert answer == (503, "1")
            assert await one.met(limit) == 1
            assert len(lines(caplog, limit)) == 1
            assert await ask(witness, "say", 1) == [1]
            while await knock(one.url, transport) == (503, "1"):
                pass
        await one.limit(f"{limit}: unlimited")
        for _ in range(20):
            assert await knock(one.url, transport) == (200, None)


@TRANSPORTS
@pytest.mark.parametrize(
    ("limit", "limits", "own"),
    [
        ("sockets", "", "sockets: 1"),
        ("sockets", "sockets: 2", ""),
        ("sockets_per_address", "sockets_per_address: 2", ""),
    ],
)
async def test_a_namespace_that_is_full_says_so_and_when_to_come_back(
    edge, caplog, limit: str, limits: str, own: str, transport: str
) -> None:
    async with (
        edge(limits, own) as one,
        raw(one.url) as witness,
        raw(one.url, transport) as client,
    ):
        await witness.join()
        await witness.join("/calm")
        assert await client.join() == f"44{REFUSED}"
        assert await ask(witness, "say", 1) == [1]
        assert await one.met(limit) == 1
        assert len(lines(caplog, limit)) == 1
        await one.limit()
        assert str(await client.join()).startswith("40{")
        assert await ask(client, "say", 2) == [2]


async def test_limits_that_are_lowered_send_nobody_away(edge) -> None:
    async with edge() as one, raw(one.url) as first, raw(one.url) as second:
        await first.join()
        await second.join()
        await one.limit("sockets: 1, sockets_per_address: 1")
        assert await knock(one.url, "polling") == (503, "1")
        assert await ask(first, "say", 1) == [1]
        assert await ask(second, "say", 2) == [2]


async def test_the_javascript_client_gets_in_by_itself_after_it_was_refused(edge, js) -> None:
    async with edge("sockets: 1") as one, raw(one.url) as witness:
        await witness.join()
        client = await js.client(one.url, reconnectionDelay=50, reconnectionDelayMax=50)
        await client.receive("connect_error")
        assert await one.met("sockets") >= 1
        await one.limit()
        await client.receive("connect")
        assert await client.call("say", 3) == [3]
        assert await ask(witness, "say", 1) == [1]


async def test_the_javascript_client_is_told_the_code_of_a_full_namespace(edge, js) -> None:
    async with edge(own="sockets: 1") as one, raw(one.url) as witness:
        await witness.join()
        client = await js.client(one.url)
        [told] = await client.receive("connect_error")
        assert told["message"] == "too much to do"
        assert told["data"] == {"code": "busy", "data": {"retry_after": 1}}
        assert await ask(witness, "say", 1) == [1]
