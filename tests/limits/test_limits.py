"""Each limit is met: what the client sees, that it is counted, that others notice nothing."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.limits.conftest import Bound
from tests.raw import Raw, raw
from tests.reload.caller import caller
from tests.reload.running import until

BUSY = {"code": "busy", "message": "too much to do", "data": {"retry_after": 1}}
REFUSED = {"message": "too much to do", "data": {"code": "busy", "data": {"retry_after": 1}}}

transports = pytest.mark.parametrize("transport", ["websocket", "polling"])


@asynccontextmanager
async def in_root(url: str, transport: Any = "websocket") -> AsyncIterator[Raw]:
    async with raw(url, transport) as client:
        assert str(await client.join()).startswith("40{")
        yield client


async def refusal(url: str, transport: str) -> tuple[int, str | None]:
    """The status of a handshake, and its `Retry-After`."""
    upgrade = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    headers = upgrade if transport == "websocket" else {}
    path = f"{url}/socket.io/?EIO=4&transport={transport}"
    async with aiohttp.ClientSession() as http, http.get(path, headers=headers) as answer:
        return answer.status, answer.headers.get("retry-after")


async def connect_error(client: Raw) -> Any:
    answer = await client.join()
    assert isinstance(answer, str)
    assert answer.startswith("44"), answer
    return json.loads(answer[2:])


@transports
@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        ("sockets: 2", "sockets"),
        ("sockets_per_address: 2", "sockets_per_address"),
        ("connections_per_second: 2", "connections_per_second"),
    ],
)
async def test_a_connection_too_many_is_told_when_to_come_back(
    bound: Bound, caplog: pytest.LogCaptureFixture, transport: str, limits: str, limit: str
) -> None:
    caplog.set_level(logging.INFO, "sockgw.engine")
    async with bound(limits) as one, in_root(one.url, transport):
        assert await refusal(one.url, transport) == (503, "1")
        assert await one.met() == {limit: 1}
        expected = f"limit {limit} by 127.0.0.1: a connection is refused"
        assert [record.getMessage() for record in caplog.records] == [expected]


@transports
async def test_who_leaves_makes_room(bound: Bound, transport: str) -> None:
    async with bound("sockets: 2") as one:
        for _ in range(3):
            async with in_root(one.url, "websocket"):
                assert await refusal(one.url, transport) == (503, "1")
            async with raw(one.url) as client:
                await until_there_is_room(client)


async def until_there_is_room(client: Raw) -> None:
    assert str(await client.join()).startswith("40{")


@transports
@pytest.mark.parametrize(
    ("limits", "own"), [("sockets: 3", ""), ("", "sockets: 1"), ("sockets_per_address: 3", "")]
)
async def test_a_socket_too_many_is_refused_by_its_namespace(
    bound: Bound, transport: Any, limits: str, own: str
) -> None:
    async with bound(limits, own) as one, in_root(one.url), raw(one.url, transport) as client:
        if limits:
            assert str(await client.join("/witness")).startswith("40/witness,")
        assert await connect_error(client) == REFUSED
        (count,) = (await one.met()).values()
        assert count == 1


async def test_a_socket_that_is_refused_may_come_back(bound: Bound) -> None:
    async with (
        bound(own="sockets: 1") as one,
        raw(one.url) as client,
        in_root(one.url) as other,
    ):
        assert await connect_error(client) == REFUSED
        await other.send("41", "40")
        assert str(await other.receive()).startswith("40{")
        assert await connect_error(client) == REFUSED
        await other.send("41")
        while str(await client.join()).startswith("44"):
            pass


@transports
async def test_handlers_of_a_socket(bound: Bound, transport: Any) -> None:
    async with bound("handlers_per_socket: 2") as one, in_root(one.url, transport) as client:
        await client.send('421["hold"]', '422["hold"]', '423["say",1]', '42["say",2]')
        assert await client.receive() == "433" + dumped([{"error": BUSY}])
        assert await client.receive() == "42" + dumped(["error", {"error": BUSY, "event": "say"}])
        assert await one.met() == {"handlers_per_socket": 2}
        async with in_root(one.url) as other:
            await other.send('42["let"]')
        assert {await client.receive(), await client.receive()} == {'431["held"]', '432["held"]'}
        await client.send('424["say",3]')
        assert await client.receive() == "434[3]"


@pytest.mark.parametrize(("limits", "own"), [("handlers: 2", ""), ("", "handlers: 2")])
async def test_handlers_in_all(bound: Bound, limits: str, own: str) -> None:
    async with bound(limits, own) as one, in_root(one.url) as first, in_root(one.url) as client:
        await first.send('421["hold"]', '422["hold"]', '423["say"]')
        assert await first.receive() == "433" + dumped([{"error": BUSY}])
        await client.send('421["say"]')
        assert await client.receive() == "431" + dumped([{"error": BUSY}])
        if limits:  # nobody new is let in to add to it
            async with raw(one.url) as late:
                assert await connect_error(late) == REFUSED
        assert await one.met() == {"handlers": 3 if limits else 2}
        await one.reload("", "")
        await client.send('421["let"]')
        assert await client.receive() == "431[]"
        assert {await first.receive(), await first.receive()} == {'431["held"]', '432["held"]'}


@transports
@pytest.mark.parametrize(
    ("limits", "own", "limit"),
    [
        ("packets_per_second: 50", "", "packets_per_second"),
        ("", "packets_per_second: 50", "packets_per_second"),
        ("bytes_per_second: 600", "", "bytes_per_second"),
    ],
)
async def test_what_comes_too_fast_waits_and_is_not_lost(
    bound: Bound, transport: Any, limits: str, own: str, limit: str
) -> None:
    async with bound(limits, own) as one, in_root(one.url, transport) as client:
        await client.send(*(f'42{number}["say",{number}]' for number in range(70)))
        answers = [await client.receive() for _ in range(70)]
        assert answers == [f"43{number}[{number}]" for number in range(70)]
        assert (await one.met()).keys() == {limit}


async def test_who_leaves_while_it_waits_leaves_nothing_behind(bound: Bound) -> None:
    async with bound(own="packets_per_second: 5") as one:
        for _ in range(3):
            async with in_root(one.url) as client:
                await client.send(*('42["say"]' for _ in range(8)))
        assert (await one.met()).keys() == {"packets_per_second"}
        await until(lambda: len(one.reasons) == 3)


@pytest.mark.parametrize(
    ("limits", "own"), [("rooms_per_socket: 2", ""), ("", "rooms_per_socket: 2")]
)
async def test_rooms_of_a_socket(bound: Bound, limits: str, own: str) -> None:
    async with bound(limits, own) as one, caller(one.url) as client:
        await client.call("enter", "a")
        assert await client.call("enter", "b") == [["a", "b"]]
        assert await client.call("enter", "a") == [["a", "b"]]
        error = {"code": "too_many_rooms", "message": "a socket may be in 2 rooms"}
        assert await client.call("enter", "c") == [{"error": error}]
        assert await one.met() == {"rooms_per_socket": 1}


@transports
@pytest.mark.parametrize(
    ("limits", "packets", "limit"),
    [
        ("attachments: 1", ['452-["say",{"_placeholder":true,"num":0}]'], "attachments"),
        ("depth: 3", ['42["say",[[[]]]]'], "depth"),
    ],
)
async def test_a_packet_that_is_too_much_ends_the_session(
    bound: Bound, transport: Any, limits: str, packets: list[str], limit: str
) -> None:
    async with bound(limits) as one, in_root(one.url, transport) as client:
        await client.send(*packets)
        assert await client.receive() is None
        assert one.reasons == ["parse error"]
        assert await one.met() == {limit: 1}


async def test_what_is_just_not_too_deep_is_taken(bound: Bound) -> None:
    async with bound("depth: 3, attachments: 1") as one, in_root(one.url) as client:
        await client.send('421["say",[[]]]')
        assert await client.receive() == "431[[[]]]"
        await client.send('451-2["say",{"_placeholder":true,"num":0}]', b"x")
        assert str(await client.receive()).startswith("461-2")


@transports
async def test_a_client_in_no_namespace_is_ended(bound: Bound, transport: Any) -> None:
    async with bound("join_timeout: 100ms") as one, raw(one.url, transport) as client:
        assert await client.receive() is None
        assert await one.met() == {"join_timeout": 1}


async def test_half_a_request_is_not_waited_for(bound: Bound) -> None:
    async with bound("request_timeout: 100ms") as one:
        host, port = one.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /socket.io/?EIO=4 HTTP/1.1\r\nhost: a\r\n")
        assert await reader.read() == b""
        writer.close()
        assert await one.met() == {"request_timeout": 1}


async def test_half_an_upgrade_is_given_up(bound: Bound) -> None:
    async with bound("upgrade_timeout: 100ms") as one, in_root(one.url, "polling") as client:
        path = f"{one.url}/socket.io/?EIO=4&transport=websocket&sid={client.handshake['sid']}"
        async with aiohttp.ClientSession() as http, http.ws_connect(path) as websocket:
            await websocket.send_str("2probe")
            assert await websocket.receive_str() == "3probe"
            assert (await websocket.receive()).type is aiohttp.WSMsgType.CLOSE
        await client.send('421["say",1]')
        assert await client.receive() == "431[1]"
        assert await one.met() == {"upgrade_timeout": 1}


async def test_a_reload_changes_the_limits_of_open_sockets(bound: Bound) -> None:
    async with bound() as one, in_root(one.url) as client:
        await one.reload("sockets: 2", "handlers_per_socket: 1, packets_per_second: 1")
        assert await refusal(one.url, "polling") == (503, "1")
        await client.send('421["hold"]', '422["say"]')
        assert await client.receive() == "432" + dumped([{"error": BUSY}])
        await one.reload("sockets: unlimited, handlers_per_socket: unlimited")
        async with in_root(one.url) as other:
            await client.send('423["say",3]')
            assert await client.receive() == "433[3]"
            await other.send('42["let"]')
        assert await client.receive() == '431["held"]'


async def test_unlimited_is_no_limit(bound: Bound) -> None:
    keys = (
        "sockets sockets_per_address connections_per_second packets_per_second bytes_per_second "
        "handlers handlers_per_socket rooms_per_socket send_buffer send_packets overload_after"
    )
    async with bound(", ".join(f"{key}: unlimited" for key in keys.split())) as one:
        async with AsyncExitStack() as stack:
            for _ in range(20):
                client = await stack.enter_async_context(in_root(one.url))
                await client.send('421["say",1]', '422["flood",1,1]')
                assert await client.receive() == "431[1]"
        assert await one.met() == {}


async def test_a_gateway_that_is_late_refuses_first_who_is_new_then_packets(bound: Bound) -> None:
    async with bound("overload_after: 100ms") as one, in_root(one.url) as client:
        await client.send('421["block",0.5]')
        assert await client.receive() == "431[]"
        # Noted by the first look after it; from then on nobody new gets in.
        while await refusal(one.url, "polling") != (503, "1"):
            await client.send('421["block",0.5]')
            assert await client.receive() == "431[]"
        # It is late again: what has waited for that is not begun.
        await client.send('421["block",0.5]', '422["block",0.5]', '423["say"]')
        answers = {str(await client.receive())[:3] for _ in range(3)}
        assert answers == {"431", "432", "433"}
        met = await one.met()
        assert met.keys() <= {"overload_after"}
        while await refusal(one.url, "polling") != (200, None):
            pass
        await client.send('424["say",4]')
        assert await client.receive() == "434[4]"


def dumped(data: object) -> str:
    return json.dumps(data, separators=(",", ":"))
