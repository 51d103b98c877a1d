"""Every bad request has its answer, and harms nobody."""

from __future__ import annotations

import pytest

from tests.hostile.bad_http import ON_SESSION, OPENING, SID, UPGRADES, Bad
from tests.hostile.byte_connection import Line, connected, get, post
from tests.hostile.conftest import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")


def named(cases: list[Bad]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("bad", cases, ids=lambda bad: bad.name.replace(" ", "-"))


async def attempt(gateway: Gateway, bad: Bad, sid: str = "") -> None:
    """Send, and hold the answer to what is due."""
    gateway.news()
    async with connected(gateway.port) as line:
        await line.send(bad.sent.replace(SID.encode(), sid.encode()))
        if bad.cut:
            line.end()
        if bad.then:
            go_on = await line.answer()
            assert go_on is not None
            assert go_on.status == 100
            await line.send(bad.then)
        answer = await line.answer()
        assert (answer and answer.status, answer and answer.code) == (bad.status, bad.code)


def counted(gateway: Gateway, bad: Bad) -> None:
    assert gateway.news() == ({bad.kind: 1} if bad.kind else {})


@named(OPENING)
async def test_a_bad_request_without_a_session(attacked: Gateway, bad: Bad) -> None:
    await attempt(attacked, bad)
    await attacked.is_unharmed()
    counted(attacked, bad)


@named(UPGRADES)
async def test_a_bad_request_for_a_websocket(attacked: Gateway, bad: Bad) -> None:
    await attempt(attacked, bad)
    await attacked.is_unharmed()
    counted(attacked, bad)


async def test_a_thousand_bad_requests_in_one_go(attacked: Gateway) -> None:
    attacked.news()
    async with connected(attacked.port) as line:
        await line.send(get("?EIO=4&transport=smoke") * 1000)
        answers = [await line.answer() for _ in range(1000)]
        assert {(answer.status, answer.code) for answer in answers if answer} == {(400, 0)}
    assert attacked.news() == {"unknown_transport": 1000}
    await attacked.is_unharmed()


async def test_what_is_logged_names_no_secret(
    attacked: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "c2VjcmV0"
    async with connected(attacked.port) as line:
        sid = str((await line.handshake("polling"))["sid"])
        await line.send(
            get(f"{mine(sid)}&token={secret}", f"Authorization: {secret}", method="PUT")
        )
        assert await line.answer() is not None
        await line.send(post(mine(sid), b"9" + secret.encode()))
        assert await line.answer() is not None
        await line.send(get("", f"Authorization: {secret}\x00"))
        assert await line.answer() is not None
    assert caplog.messages
    assert [text for text in caplog.messages if secret in text or sid in text] == []
    await attacked.is_unharmed()


async def joined(gateway: Gateway, line: Line) -> str:
    """The id of a session on polling that has joined `/`."""
    sid = str((await line.handshake("polling"))["sid"])
    await line.send(post(mine(sid), b"40") + get(mine(sid)))
    assert [(answer := await line.answer()) and answer.status for _ in range(2)] == [200, 200]
    await gateway.tell()
    return sid


def mine(sid: str) -> str:
    return f"?EIO=4&transport=polling&sid={sid}"


@named(ON_SESSION)
async def test_a_bad_request_on_a_session(attacked: Gateway, bad: Bad) -> None:
    async with connected(attacked.port) as line:
        sid = await joined(attacked, line)
        await attempt(attacked, bad, sid)
        if bad.reason is not None:
            assert await attacked.ended() == bad.reason
        counted(attacked, bad)
        await line.send(post(mine(sid), b'428["hello","me"]'))
        posted = await line.answer()
        assert posted is not None
        if bad.reason is not None:
            assert (posted.status, posted.code) == (400, 1)
        else:
            await line.send(get(mine(sid)))
            answer = await line.answer()
            assert answer is not None
            assert (posted.body, answer.body) == (b"ok", b'438["me"]')
    await attacked.is_unharmed()
