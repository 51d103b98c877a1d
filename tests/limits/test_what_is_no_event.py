"""Packets that are no events: they are charged, refused and waited for like all others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.deadline import deadline
from tests.limits.counted_gateway import Bounded, bounded
from tests.raw_client import Packet, Raw, raw
from tests.reload.edited_daemon import until

Bound = Callable[..., AbstractAsyncContextManager[Bounded]]

transports = pytest.mark.parametrize("transport", ["websocket", "polling"])

UNKNOWN = '44/x,{"message":"Invalid namespace"}'
TOO_LARGE = '44{"message":"auth is larger than this server allows","data":{"code":"too_large"}}'


@pytest.fixture
def bound(tmp_path: Path) -> Bound:
    """Serve a gateway with limits: `async with bound("sockets: 2") as one`."""
    return partial(bounded, tmp_path)


@asynccontextmanager
async def in_root(url: str, transport: str) -> AsyncIterator[Raw]:
    async with raw(url, transport) as client:  # type: ignore[arg-type]
        assert str(await client.join()).startswith("40{")
        yield client


@transports
async def test_a_refusal_gives_no_more_time_to_join(bound: Bound, transport: str) -> None:
    async with (
        bound("join_timeout: 300ms, refusals: unlimited") as one,
        raw(one.url, transport) as client,  # type: ignore[arg-type]
        deadline(),
    ):
        while (answer := await client.join("/x")) is not None:
            assert answer == UNKNOWN
        assert await one.met() == {"join_timeout": 1}


@transports
async def test_too_many_refusals_in_a_row_end_the_session(bound: Bound, transport: str) -> None:
    async with bound("refusals: 3") as one, raw(one.url, transport) as client:  # type: ignore[arg-type]
        for _ in range(2):
            assert await client.join("/x") == UNKNOWN
        assert str(await client.join()).startswith("40{")
        for _ in range(3):
            assert await client.join("/x") == UNKNOWN
        assert await client.receive() is None
        assert await one.met() == {"refusals": 1}
        await until(lambda: one.reasons == ["forced server close"])


@transports
async def test_auth_that_is_too_large_is_refused(bound: Bound, transport: str) -> None:
    async with bound("auth_size: 100") as one, raw(one.url, transport) as client:  # type: ignore[arg-type]
        assert await client.join("/", f'{{"token":"{"x" * 100}"}}') == TOO_LARGE
        assert str(await client.join("/", '{"token":"x"}')).startswith("40{")
        assert await one.met() == {"auth_size": 1}


@transports
async def test_attachments_that_do_not_come_are_not_waited_for(
    bound: Bound, transport: str
) -> None:
    async with bound("request_timeout: 300ms") as one, in_root(one.url, transport) as client:
        await client.send('451-["say",{"_placeholder":true,"num":0}]')
        assert await client.receive() is None
        assert await one.met() == {"request_timeout": 1}
        await until(lambda: one.reasons == ["parse error"])


@transports
async def test_attachments_count_towards_the_size_of_their_packet(
    bound: Bound, transport: str
) -> None:
    places = ",".join(f'{{"_placeholder":true,"num":{number}}}' for number in range(2))
    text = f'452-1["say",{places}]'
    room = 1_000_000 - len(text) + 1  # the type of the Engine.IO packet is not counted
    async with bound() as one, in_root(one.url, transport) as client:
        for over in (0, 1):
            await client.send(text)
            for size in (600_000, room - 600_000 + over):
                await client.send(b"x" * size)
            if not over:
                assert str(await client.receive()).startswith("462-1[")
                assert [len(bytes(await client.receive() or b"")) for _ in "12"] == [  # type: ignore[arg-type]
                    600_000,
                    room - 600_000,
                ]
        assert await client.receive() is None
        await until(lambda: one.reasons == ["parse error"])


async def test_a_long_text_with_attachments_is_whole(bound: Bound) -> None:
    """Its data are not kept while the attachments are on their way."""
    long = "é" * 10_000
    async with bound() as one, in_root(one.url, "websocket") as client:
        await client.send(f'451-7["say","{long}",{{"_placeholder":true,"num":0}}]', b"x")
        answer = str(await client.receive())
        assert answer == f'461-7["{long}",{{"_placeholder":true,"num":0}}]'
        assert await client.receive() == b"x"


HEAVY = '42["none",' + ",".join(["0"] * 5000) + "]"


@transports
@pytest.mark.parametrize(
    "packets",
    [
        pytest.param(["431[]"] * 30, id="acks"),
        pytest.param(["40/x,"] * 30, id="unknown namespaces"),
        pytest.param(["41", *['42["say",1]'] * 30], id="a namespace that was left"),
        pytest.param(["40/witness,", "41/witness,"] * 30, id="joining and leaving"),
        pytest.param(
            ['455-["none"]', *[b"x"] * 5] * 5,
            id="attachments",
        ),
        pytest.param([HEAVY] * 2, id="a packet with thousands of values"),
    ],
)
async def test_what_is_no_event_is_paced_too(
    bound: Bound, transport: str, packets: list[Packet]
) -> None:
    async with (
        bound("packets_per_second: 20, refusals: unlimited") as one,
        in_root(one.url, transport) as client,
    ):
        await client.send(*packets, "40" if packets[0] == "41" else '421["say",1]')
        while (answer := await client.receive()) not in (None, "431[1]"):
            if packets[0] == "41" and str(answer).startswith("40{"):
                break
        assert answer is not None
        assert (await one.met()).keys() == {"packets_per_second"}
