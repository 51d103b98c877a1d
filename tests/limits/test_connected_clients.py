"""Who is inside and meets a limit: is told, slowed down or sent away, and nobody else with it."""

from __future__ import annotations

import asyncio
import json
import re
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.deadline import deadline
from tests.limits.limited_daemon import BUSY, REFUSED, ask, error, until
from tests.raw_client import raw

TRANSPORTS = pytest.mark.parametrize("transport", ["polling", "websocket"])


def lines(caplog: pytest.LogCaptureFixture, limit: str) -> int:
    return sum(each.startswith(f"limit {limit} by ") for each in caplog.messages)


async def test_half_a_request_is_not_waited_for(edge, caplog) -> None:
    async with edge("request_timeout: 200ms") as one, raw(one.url) as witness:
        await witness.join()
        where = urlsplit(one.url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        writer.write(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n")
        async with deadline():
            told = await reader.read()
        writer.close()
        assert b" 200 " not in told
        assert await ask(witness, "say", 1) == [1]
        assert await one.met("request_timeout") == lines(caplog, "request_timeout") == 1


@TRANSPORTS
async def test_a_client_in_no_namespace_is_sent_away(edge, caplog, transport: str) -> None:
    async with edge("join_timeout: 1s") as one, raw(one.url) as witness:
        await witness.join()
        async with raw(one.url, transport) as client:
            assert await client.receive() is None
        assert await ask(witness, "say", 1) == [1]
        assert await one.met("join_timeout") == lines(caplog, "join_timeout") == 1


async def test_a_packet_that_takes_too_long_is_told_with_the_key_that_allows_it(
    edge, caplog
) -> None:
    async with edge() as one, raw(one.url) as client:
        await client.join("/brief")
        for event in ("hold", "build"):
            await client.send(f'42/brief,1["{event}"]')
            assert '"code":"timeout"' in str(await client.receive())
        assert await one.met("packet_timeout") == 2
    [told, *_] = [each for each in caplog.messages if "packet_timeout" in each]
    assert re.sub("socket .{20} of", "socket ID of", told) == (
        "limit packet_timeout by socket ID of 127.0.0.1: event 'hold' took longer than 0.1 s "
        "in /brief: to allow it, raise namespaces./brief.packet_timeout"
    )


async def upgrade(url: str, sid: str) -> None:
    """Begin an upgrade; returns when it has been given up."""
    path = f"{url}/socket.io/?EIO=4&transport=websocket&sid={sid}"
    async with aiohttp.ClientSession() as http, http.ws_connect(path) as websocket:
        await websocket.send_str("2probe")
        assert (await websocket.receive()).data == "3probe"
        assert (await websocket.receive()).type is aiohttp.WSMsgType.CLOSE


@pytest.mark.parametrize("reloaded", [False, True])
async def test_half_an_upgrade_is_given_up_and_polling_goes_on(
    edge, caplog, reloaded: bool
) -> None:
    async with (
        edge(f"upgrade_timeout: {'1h' if reloaded else '200ms'}") as one,
        raw(one.url) as witness,
        raw(one.url, "polling") as client,
    ):
        await witness.join()
        await client.join()
        if reloaded:
            await one.limit("upgrade_timeout: 200ms")
        async with deadline():
            await upgrade(one.url, client.handshake["sid"])
        assert await ask(client, "say", 2) == [2]
        assert await ask(witness, "say", 1) == [1]
        assert await one.met("upgrade_timeout") == lines(caplog, "upgrade_timeout") == 1


PLACES = json.dumps([{"_placeholder": True, "num": number} for number in range(2)])


@TRANSPORTS
@pytest.mark.parametrize(
    ("limit", "good", "bad"),
    [
        ("attachments", '427["say",1]', f'452-7["say",{PLACES}]'),
        ("depth", '427["say",1]', '427["say",[[[]]]]'),
    ],
)
async def test_a_packet_that_is_too_much_ends_the_session(
    edge, caplog, limit: str, good: str, bad: str, transport: str
) -> None:
    async with (
        edge() as one,
        raw(one.url) as witness,
        raw(one.url, transport) as client,
        raw(one.url, transport) as wide,
    ):
        await witness.join()
        await client.join()
        await wide.join()
        await wide.send(bad, *([b"0", b"1"] if limit == "attachments" else []))
        assert str(await wide.receive()).startswith(("437[", "462-7["))
        await one.limit(f"{limit}: 1")
        await client.send(good)
        assert await client.receive() == "437[1]"
        await client.send(bad)
        assert await client.receive() is None
        await until(witness, "parse error")
        assert await one.met(limit) == lines(caplog, limit) == 1


@TRANSPORTS
@pytest.mark.parametrize(
    ("limit", "limits", "size"),
    [
        ("packets_per_second", "packets_per_second: 20", 1),
        ("bytes_per_second", "bytes_per_second: 10KB", 500),
    ],
)
async def test_who_sends_too_fast_is_read_from_more_slowly_and_loses_nothing(
    edge, caplog, limit: str, limits: str, size: int, transport: str
) -> None:
    packets = [f'42{number}["say","{"x" * size}"]' for number in range(40)]
    answers = [f'43{number}["{"x" * size}"]' for number in range(40)]
    async with (
        edge(limits) as one,
        raw(one.url) as witness,
        raw(one.url, transport) as client,
    ):
        await witness.join()
        await client.join()
        sending = asyncio.create_task(client.send(*packets))
        assert [await client.receive() for _ in packets] == answers
        await sending
        assert await ask(witness, "say", 1) == [1]
        assert await one.met(limit) > 0
        assert lines(caplog, limit) > 0
        before = await one.met(limit)
        await one.limit(f"{limit}: unlimited")
        sending = asyncio.create_task(client.send(*packets * 5))
        assert [await client.receive() for _ in packets * 5] == answers * 5
        await sending
        assert await one.met(limit) == before
        await one.limit(limits)
        sending = asyncio.create_task(client.send(*packets))
        assert [await client.receive() for _ in packets] == answers
        await sending
        assert await one.met(limit) > before


@TRANSPORTS
@pytest.mark.parametrize(
    ("limit", "limits", "own"),
    [
        ("handlers", "handlers: 1", ""),
        ("handlers", "", "handlers: 1"),
        ("handlers_per_socket", "handlers_per_socket: 1", ""),
        ("handlers_per_socket", "", "handlers_per_socket: 1"),
    ],
)
async def test_a_packet_past_those_under_way_is_told_so(
    edge, caplog, limit: str, limits: str, own: str, transport: str
) -> None:
    async with (
        edge(limits, own) as one,
        raw(one.url) as witness,
        raw(one.url, transport) as client,
    ):
        await witness.join("/calm")
        await client.join()
        await client.send('421["hold"]', '422["say",1]', '42["say",2]')
        assert await client.receive() == f"432{json.dumps([BUSY], separators=(',', ':'))}"
        assert await client.receive() == error("say")
        assert await one.met(limit) == 2
        assert lines(caplog, limit) == 1
        await one.limit()
        await witness.send('42/calm,["let"]')
        assert await client.receive() == '431["held"]'
        assert await ask(witness, "say", 1, namespace="/calm") == [1]
        assert await ask(client, "say", 2) == [2]


@TRANSPORTS
async def test_where_packets_are_about_to_be_refused_nobody_new_gets_in(
    edge, caplog, transport: str
) -> None:
    async with (
        edge("handlers: 6") as one,
        raw(one.url) as witness,
        raw(one.url, transport) as client,
    ):
        await witness.join("/calm")
        await witness.send(*(f'42/calm,{number}["hold"]' for number in range(4)))
        assert await ask(witness, "say", 1, namespace="/calm") == [1]
        assert str(await client.join()).startswith("40{")
        await one.limit("handlers: 5")
        async with raw(one.url, transport) as late:
            assert await late.join() == f"44{REFUSED}"
        await ask(witness, "let", namespace="/calm")
        assert await ask(client, "say", 2) == [2]
        assert lines(caplog, "handlers") == 1


@TRANSPORTS
async def test_a_socket_past_its_rooms_is_told_so(edge, caplog, transport: str) -> None:
    limit = "rooms_per_socket"
    full = {"error": {"code": "too_many_rooms", "message": "a socket may be in 1 rooms"}}
    async with (
        edge(f"{limit}: 1") as one,
        raw(one.url) as witness,
        raw(one.url, transport) as client,
    ):
        await witness.join()
        await client.join()
        assert await ask(client, "join", "a") == []
        assert await ask(client, "join", "a") == []
        assert await ask(client, "join", "b") == [full]
        assert await ask(witness, "say", 1) == [1]
        assert await one.met(limit) == lines(caplog, limit) == 1
        await one.limit(own=f"{limit}: 2")
        assert await ask(client, "join", "b") == []
        await one.limit(f"{limit}: unlimited")
        for number in range(100):
            assert await ask(client, "join", str(number)) == []


@pytest.mark.parametrize("bound", ["send_buffer: 50KB", "send_packets: 5"])
async def test_who_takes_nothing_is_sent_away_as_a_slow_client(edge, caplog, bound: str) -> None:
    async with edge() as one, raw(one.url) as witness, raw(one.url, "polling") as client:
        await witness.join()
        await client.join()
        assert await ask(witness, "flood", 0, 10, 10_000) == []
        limit = bound.partition(":")[0]
        assert await one.met(limit) == 0
        await one.limit(bound)
        assert await ask(witness, "flood", 10, 11, 10_000) == []
        await until(witness, "slow client")
        assert await client.receive() is None
        assert await one.met(limit) == lines(caplog, limit) == 1
