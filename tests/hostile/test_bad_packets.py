"""Every bad packet ends its session, says why, and harms nobody: on polling and on a WebSocket."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest

from tests.hostile.bad_packets import ENGINE, PAYLOADS, PROBES, BadPackets
from tests.hostile.byte_connection import Line, connected, frame, get, post, upgrade
from tests.hostile.conftest import Gateway
from tests.raw_client import Packet, Raw, raw
from tests.socketio.bad_packets import BAD, Message

pytestmark = pytest.mark.asyncio(loop_scope="module")

Transport = Literal["polling", "websocket"]

PLACEHOLDER = '{"_placeholder":true,"num":0}'


@pytest.fixture(params=["polling", "websocket"])
def transport(request: pytest.FixtureRequest) -> Transport:
    chosen: Transport = request.param
    return chosen


async def joined(gateway: Gateway, client: Raw) -> None:
    assert str(await client.join()).startswith('40{"sid":')
    await gateway.tell()
    gateway.news()


def violations(gateway: Gateway) -> dict[str, int]:
    """The new ones, but for the polls by which clients learn that their session is over."""
    return {kind: count for kind, count in gateway.news().items() if kind != "unknown_session"}


def shown(messages: list[Message]) -> str:
    return "-".join(repr(message)[:40] for message in messages)


@pytest.mark.parametrize("bad", ENGINE, ids=lambda bad: bad.name.replace(" ", "-"))
async def test_a_bad_engineio_packet(
    attacked: Gateway, transport: Transport, bad: BadPackets
) -> None:
    async with raw(attacked.url, transport) as client:
        await joined(attacked, client)
        await client.send(*bad.sent)
        if bad.reason is None:
            await client.send('428["hello","me"]')
            assert await client.receive() == '438["me"]'
        else:
            assert await client.receive() is None
            assert await attacked.ended() == bad.reason
    assert violations(attacked) == ({bad.kind: 1} if bad.kind else {})
    await attacked.tell()
    await attacked.is_unharmed()


# The last of these begins with a packet that is good, and heard.
@pytest.mark.parametrize("messages", BAD[:-1], ids=shown)
async def test_a_bad_socketio_packet(
    attacked: Gateway, transport: Transport, messages: list[Message]
) -> None:
    async with raw(attacked.url, transport) as client:
        await joined(attacked, client)
        await client.send(*(f"4{each}" if isinstance(each, str) else each for each in messages))
        assert await client.receive() is None
        assert await attacked.ended() == "parse error"
    assert violations(attacked) == {"packet": 1}
    await attacked.is_unharmed()


BEFORE: list[tuple[str, tuple[Packet, ...]]] = [
    ("an event", ('42["a"]',)),
    ("an event that asks for an ack", ('421["a"]',)),
    ("an event with bytes", (f'451-["a",{PLACEHOLDER}]', b"x")),
    ("an ack", ("431[]",)),
    ("an ack with bytes", (f"461-1[{PLACEHOLDER}]", b"x")),
    ("DISCONNECT", ("41",)),
    ("CONNECT_ERROR", ('44{"message":"x"}',)),
    ("bytes", (b"x",)),
    ("an event for a namespace nobody has", ('42/nowhere,["a"]',)),
    ("an event while the chain decides", ("40/slow,", '42/slow,["a"]')),
    ("an ack while the chain decides", ("40/slow,", "43/slow,1[]", '42/slow,["a"]')),
    ("CONNECT twice while the chain decides", ("40/slow,", "40/slow,")),
    ("CONNECT with a list", ("40[]",)),
    ("CONNECT with half an object", ('40{"token":',)),
    ("CONNECT with bytes", ("401-{}",)),
    ("CONNECT to a namespace of 300 letters", ("40/" + "n" * 300 + ",",)),
]


@pytest.mark.parametrize(("name", "packets"), BEFORE, ids=[name for name, _ in BEFORE])
async def test_a_packet_before_connect(
    attacked: Gateway, transport: Transport, name: str, packets: tuple[Packet, ...]
) -> None:
    attacked.news()
    async with raw(attacked.url, transport) as client:
        await client.send(*packets)
        assert await client.receive() is None
    assert violations(attacked) == {"packet": 1}
    assert (await attacked.tell())["ends"] == []
    await attacked.is_unharmed()


async def test_a_namespace_that_nobody_has_is_refused_and_the_session_lives(
    attacked: Gateway, transport: Transport
) -> None:
    async with raw(attacked.url, transport) as client:
        for _ in range(19):
            assert await client.join("/x") == '44/x,{"message":"Invalid namespace"}'
        await joined(attacked, client)
    await attacked.is_unharmed()


async def test_a_namespace_that_refuses_may_be_asked_again(
    attacked: Gateway, transport: Transport
) -> None:
    async with raw(attacked.url, transport) as client:
        for _ in range(19):
            refused = '44/closed,{"message":"no","data":{"code":"no"}}'
            assert await client.join("/closed") == refused
        await joined(attacked, client)
    await attacked.is_unharmed()


async def test_attachments_that_are_announced_and_do_not_come(
    attacked: Gateway, transport: Transport
) -> None:
    async with raw(attacked.url, transport) as client:
        await joined(attacked, client)
        await client.send(f'452-["a",{PLACEHOLDER},{{"_placeholder":true,"num":1}}]', b"x")
        await client.send("1")
        assert await attacked.ended() == "transport close"
    assert violations(attacked) == {}
    await attacked.is_unharmed()


@pytest.mark.parametrize(("name", "body", "kind"), PAYLOADS, ids=[name for name, *_ in PAYLOADS])
async def test_a_bad_body(attacked: Gateway, name: str, body: bytes, kind: str) -> None:
    async with connected(attacked.port) as line:
        mine = await joined_on(line)
        await attacked.tell()
        attacked.news()
        await line.send(post(mine, body))
        answer = await line.answer()
        assert answer is not None
        refused = (400, 3) if kind == "engine_packet" else (200, None)
        assert (answer.status, answer.code) == refused
        assert await attacked.ended() == "parse error"
    assert violations(attacked) == {kind: 1}
    await attacked.is_unharmed()


async def joined_on(line: Line) -> str:
    """Where a session polls that has joined `/`."""
    mine = f"?EIO=4&transport=polling&sid={(await line.handshake('polling'))['sid']}"
    await line.send(post(mine, b"40") + get(mine))
    assert [(answer := await line.answer()) and answer.status for _ in range(2)] == [200, 200]
    return mine


# Two of what there may be one of.


async def test_two_polls_at_once(attacked: Gateway) -> None:
    async with connected(attacked.port) as line, connected(attacked.port) as other:
        mine = await joined_on(line)
        await attacked.tell()
        attacked.news()
        await line.send(get(mine))
        await other.send(get(mine))
        answers = [await line.answer(), await other.answer()]
        assert {answer and answer.status for answer in answers} == {200, 400}
        assert await attacked.ended() == "transport error"
    assert attacked.news() == {"overlap": 1}
    await attacked.is_unharmed()


async def test_two_posts_at_once(attacked: Gateway) -> None:
    async with connected(attacked.port) as line, connected(attacked.port) as other:
        mine = await joined_on(line)
        await attacked.tell()
        attacked.news()
        await line.send(post(mine, b"", "Expect: 100-continue", length=5))
        go_on = await line.answer()
        assert go_on is not None
        assert go_on.status == 100
        await other.send(post(mine, b"3"))
        refused = await other.answer()
        assert refused is not None
        assert (refused.status, refused.code) == (400, 3)
        assert await attacked.ended() == "transport error"
        await line.closed()
    assert attacked.news() == {"overlap": 1}
    await attacked.is_unharmed()


async def test_a_second_websocket(attacked: Gateway) -> None:
    async with connected(attacked.port) as line, connected(attacked.port) as other:
        sid = (await line.handshake("websocket"))["sid"]
        attacked.news()
        await other.send(upgrade(f"?EIO=4&transport=websocket&sid={sid}"))
        answer = await other.answer()
        assert answer is not None
        assert answer.status == 101
        assert await other.close_code() == 1000
        await line.send(frame(b"40"))
        joined = await line.frame()
        assert joined is not None
        assert joined[1].startswith(b'40{"sid":')
    assert attacked.news() == {"overlap": 1}
    await attacked.is_unharmed()


async def test_a_poll_of_a_session_on_a_websocket(attacked: Gateway) -> None:
    async with connected(attacked.port) as line, connected(attacked.port) as other:
        sid = (await line.handshake("websocket"))["sid"]
        attacked.news()
        await other.send(get(f"?EIO=4&transport=polling&sid={sid}"))
        answer = await other.answer()
        assert answer is not None
        assert (answer.status, answer.code) == (400, 3)
    assert attacked.news() == {"bad_request": 1}
    await attacked.is_unharmed()


@pytest.mark.parametrize(
    ("probed", "name", "packet"),
    [
        pytest.param(probed, name, packet, id=f"{name}-{'after' if probed else 'without'}-a-probe")
        for probed in (False, True)
        for name, packet in PROBES
        if not (probed and packet == "5")
    ],
)
async def test_an_upgrade_that_is_none_leaves_the_session_on_polling(
    attacked: Gateway, probed: bool, name: str, packet: Packet
) -> None:
    async with connected(attacked.port) as line, connected(attacked.port) as other:
        mine = await joined_on(line)
        attacked.news()
        await other.send(upgrade(mine.replace("polling", "websocket")))
        answer = await other.answer()
        assert answer is not None
        assert answer.status == 101
        if probed:
            await other.send(frame(b"2probe"))
            assert await other.frame() == (1, b"3probe")
        data, opcode = (packet, 2) if isinstance(packet, bytes) else (packet.encode(), 1)
        await other.send(frame(data, opcode))
        assert await other.close_code() == 1000
        await line.send(post(mine, b'428["hello","me"]') + get(mine))
        answers = [await line.answer() for _ in range(2)]
        assert [answer and answer.body for answer in answers] == [b"ok", b'438["me"]']
    assert attacked.news() == {"upgrade": 1}
    await attacked.is_unharmed()


async def test_two_hundred_violations_are_a_line_a_second(
    attacked: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    attacked.news()

    async def offend() -> None:
        async with raw(attacked.url) as client:
            await client.send("4nonsense")
            assert await client.receive() is None

    began = asyncio.get_running_loop().time()
    for _ in range(20):
        await asyncio.gather(*(offend() for _ in range(10)))
    took = asyncio.get_running_loop().time() - began
    assert attacked.news() == {"packet": 200}
    lines = [line for line in caplog.messages if line.startswith("violation packet by ")]
    assert len(lines) <= took + 2
    await attacked.is_unharmed()
