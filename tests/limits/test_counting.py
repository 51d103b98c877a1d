"""What limits count comes back to nothing, whatever becomes of who was counted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.limits.counted_gateway import Bounded, bounded
from tests.raw_client import Raw, raw
from tests.reload.edited_daemon import until

BUSY = {"code": "busy", "message": "too much to do", "data": {"retry_after": 1}}
REFUSED = {"message": "too much to do", "data": {"code": "busy", "data": {"retry_after": 1}}}

Bound = Callable[..., AbstractAsyncContextManager[Bounded]]

transports = pytest.mark.parametrize("transport", ["websocket", "polling"])


@pytest.fixture
def bound(tmp_path: Path) -> Bound:
    """Serve a gateway with limits: `async with bound("sockets: 2") as one`."""
    return partial(bounded, tmp_path)


@asynccontextmanager
async def in_root(url: str, transport: Any = "websocket") -> AsyncIterator[Raw]:
    async with raw(url, transport) as client:
        assert str(await client.join()).startswith("40{")
        yield client


async def connect_error(client: Raw) -> Any:
    answer = await client.join()
    assert isinstance(answer, str)
    assert answer.startswith("44"), answer
    return json.loads(answer[2:])


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


async def test_what_is_just_not_too_deep_is_taken(bound: Bound) -> None:
    async with bound("depth: 3, attachments: 1") as one, in_root(one.url) as client:
        await client.send('421["say",[[]]]')
        assert await client.receive() == "431[[[]]]"
        await client.send('451-2["say",{"_placeholder":true,"num":0}]', b"x")
        assert str(await client.receive()).startswith("461-2")


async def test_a_reload_changes_the_limits_of_who_is_there(bound: Bound) -> None:
    async with bound("bytes_per_second: unlimited") as one, raw(one.url) as client:
        await one.reload("join_timeout: 100ms, bytes_per_second: 1000")
        assert await client.receive() is None
        assert await one.met() == {"join_timeout": 1}


async def test_unlimited_is_no_limit(bound: Bound) -> None:
    keys = (
        "sockets sockets_per_address connections_per_second packets_per_second bytes_per_second "
        "handlers handlers_per_socket rooms_per_socket send_buffer send_packets overload_after "
        "auth_size refusals"
    )
    async with bound(", ".join(f"{key}: unlimited" for key in keys.split())) as one:
        async with AsyncExitStack() as stack:
            for _ in range(20):
                client = await stack.enter_async_context(in_root(one.url))
                await client.send('421["say",1]', '422["flood",1,1]')
                assert await client.receive() == "431[1]"
        assert await one.met() == {}


def dumped(data: object) -> str:
    return json.dumps(data, separators=(",", ":"))
