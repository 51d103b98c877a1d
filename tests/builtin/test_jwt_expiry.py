"""A token that expires ends its socket, unless the client sends a fresh one before."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.builtin import _stays
from gateway.builtin._tokens import Tokens
from gateway.testing import Refused, TestClient, TestGateway
from tests.builtin.conftest import Wall, use
from tests.builtin.signing import SECRET, claims, token
from tests.deadline import until
from tests.gateway_files import write

HS256 = {"algorithms": ["HS256"], "key": SECRET}
HOUR = 3600
FAR = 253_402_300_799  # the end of the year 9999

PLUGIN = """
import asyncio

reasons = []
go_on = asyncio.Event()

async def data(ctx):
    return ctx.socket.data

async def left(ctx):
    reasons.append(ctx.args[0])

async def told(ctx):
    return reasons

async def slow(ctx, next):
    if ctx.socket.handshake.auth.get("slow"):
        await go_on.wait()
    await next()

async def let(ctx):
    go_on.set()

async def renamed(ctx, next):
    ctx.socket.data["user"] = ctx.socket.data["user"].upper()
    await next()

async def strict(ctx, next):
    await asyncio.sleep(0)
"""


def config(*more: str, **options: Any) -> str:
    routes = {name: f"plugin.{name}" for name in ("data", "told", "let")}
    guarded = {
        "connection_middleware": [use("jwt", {**HS256, **options}), *more],
        "routes": {**routes, "refresh": "builtin.jwt_refresh", "disconnect": "plugin.left"},
    }
    open_to_all = {"routes": {**routes, "refresh": "builtin.jwt_refresh"}}
    return json.dumps({"namespaces": {"/": guarded, "/open": open_to_all}})


def gateway(folder: Path, *more: str, **options: Any) -> TestGateway:
    return TestGateway(write(folder, config(*more, **options), plugin=PLUGIN), {})


async def enter(one: TestGateway, **changes: Any) -> TestClient:
    return await one.connect(auth={"token": token(**changes)})


def stay(client: TestClient) -> _stays.Stay:
    [found] = [each for socket, each in _stays._STAYS.items() if socket.id == client.id]
    return found


EXPIRED = {"code": "token_expired", "message": "the token has expired"}


async def expect_the_end(client: TestClient) -> None:
    event = await client.receive("error", timeout=60)
    assert event.args == [{"error": EXPIRED, "event": "connect"}]
    await client.wait_disconnected()


async def test_a_socket_ends_when_its_token_expires(
    tmp_path: Path, wall: Wall, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sockgw.plugin")
    async with gateway(tmp_path) as one:
        witness, client = await one.connect("/open"), await enter(one)
        await wall.looked_at()
        assert client.connected
        wall.ahead = HOUR - 60
        await wall.looked_at()
        assert await client.call("told") == [[]]
        wall.ahead = HOUR + 1
        await expect_the_end(client)
        assert await witness.call("told") == [["server namespace disconnect"]]
    logged = [record.getMessage() for record in caplog.records]
    assert logged == ["the token has expired, the socket is disconnected"]


async def test_it_ends_at_the_second(tmp_path: Path) -> None:
    """With the clock as it is; a machine that is busy may need more time to connect."""
    async with gateway(tmp_path) as one:
        for seconds in (2, 5, 20):
            exp = int(time.time()) + seconds
            with suppress(Refused):
                client = await enter(one, exp=exp)
                break
        await expect_the_end(client)
        assert time.time() >= exp
    assert timers() == []


async def test_the_sockets_of_other_namespaces_stay(tmp_path: Path, wall: Wall) -> None:
    async with gateway(tmp_path) as one:
        client = await enter(one)
        beside = await one.connect("/open", beside=client)
        wall.ahead = HOUR + 1
        await expect_the_end(client)
        assert await beside.call("told") == [["server namespace disconnect"]]


async def test_clocks_may_differ_by_the_leeway(tmp_path: Path, wall: Wall) -> None:
    async with gateway(tmp_path, leeway=600) as one:
        client = await enter(one)
        wall.ahead = HOUR + 300
        await wall.looked_at()
        assert await client.call("told") == [[]]
        wall.ahead = HOUR + 601
        await expect_the_end(client)


async def test_a_clock_that_is_set_is_believed(tmp_path: Path, wall: Wall) -> None:
    async with gateway(tmp_path) as one:
        client = await enter(one)
        for wall.ahead in (HOUR - 60, -HOUR, 0.0):
            await wall.looked_at()
            assert await client.call("told") == [[]]
        wall.ahead = HOUR + 1
        await expect_the_end(client)


@pytest.mark.parametrize(
    ("options", "changes"),
    [({"on_expiry": "ignore"}, {}), ({"require": []}, {"exp": None})],
    ids=["on request", "without exp"],
)
async def test_a_socket_may_outlive_its_token(
    tmp_path: Path, wall: Wall, options: dict[str, Any], changes: dict[str, Any]
) -> None:
    async with gateway(tmp_path, **options) as one:
        client = await enter(one, **changes)
        assert stay(client)._timer is None
        [answer] = await client.call("refresh", token(role="admin", **changes))
        left = answer["expires_in"]  # type: ignore[index,call-overload]
        assert left is None if changes else HOUR - 120 < left < HOUR  # type: ignore[operator]
        assert stay(client)._timer is None
        [data] = await client.call("data")
        assert data["claims"]["role"] == "admin"  # type: ignore[index,call-overload]


@pytest.mark.parametrize("exp", [FAR, FAR + 0.5, 2**63, 10**400, "253402300799"])
async def test_a_token_may_expire_in_thousands_of_years(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exp: Any
) -> None:
    async with gateway(tmp_path) as one:
        client = await enter(one, exp=exp)
        timer = stay(client)._timer
        assert timer is not None
        assert timer.when() <= asyncio.get_running_loop().time() + 60
        [answer] = await client.call("refresh", token(exp=exp))
        assert answer["expires_in"] > FAR - time.time() - 10  # type: ignore[index,call-overload,operator]
        assert timer.cancelled()


async def test_a_fresh_token_keeps_the_socket(tmp_path: Path, wall: Wall) -> None:
    async with gateway(tmp_path, "plugin.renamed") as one:
        client = await enter(one, role="reader")
        timers = [stay(client)._timer]
        late = int(time.time()) + 3 * HOUR
        [answer] = await client.call("refresh", token(exp=late, role="admin"))
        assert 3 * HOUR - 120 < answer["expires_in"] < 3 * HOUR  # type: ignore[index,call-overload,operator]
        assert [timer for timer in timers if timer is not None and not timer.cancelled()] == []
        wall.ahead = 2 * HOUR
        await wall.looked_at()
        [data] = await client.call("data")
        assert data == {"claims": claims(exp=late, role="admin"), "user": "ADA"}
        wall.ahead = 3 * HOUR + 1
        await expect_the_end(client)


async def test_the_newest_token_counts_even_if_it_expires_earlier(
    tmp_path: Path, wall: Wall
) -> None:
    async with gateway(tmp_path) as one:
        client = await enter(one)
        assert await client.call("refresh", token(exp=int(time.time()) + 600))
        wall.ahead = 601
        await expect_the_end(client)


NEEDED = {"code": "unauthorized", "message": "a valid token is needed"}
OTHER = {"code": "unauthorized", "message": "the token is of another subject"}


@pytest.mark.parametrize(
    ("shown", "error"),
    [
        (["x"], NEEDED),
        ([""], NEEDED),
        ([token(key="another secret, as long as thirty-two bytes", iss="a")], NEEDED),
        ([token(exp=1, iss="a")], {"code": "unauthorized", "message": "the token has expired"}),
        ([token(sub="eve", iss="a")], OTHER),
        ([token(sub=None, iss="a")], OTHER),
        ([token(iss="b")], OTHER),
        ([5], {"code": "bad_request", "message": "argument 'token' must be string, got integer"}),
        ([], {"code": "bad_request", "message": "expected 1 argument (token), got 0"}),
    ],
)
async def test_a_token_that_does_not_fit_changes_nothing(
    tmp_path: Path, wall: Wall, shown: list[Any], error: dict[str, str]
) -> None:
    async with gateway(tmp_path, issuer=["a", "b"]) as one:
        client = await enter(one, iss="a")
        [before] = await client.call("data")
        [answer] = await client.call("refresh", *shown)
        assert answer == {"error": error}
        assert await client.call("data") == [before]
        wall.ahead = HOUR + 1
        await expect_the_end(client)


async def test_where_no_token_is_needed_none_is_taken(tmp_path: Path) -> None:
    async with gateway(tmp_path) as one:
        client = await one.connect("/open")
        error = {"code": "unauthorized", "message": "no token has let this socket in"}
        assert await client.call("refresh", token()) == [{"error": error}]


async def test_a_reload_forgets_no_expiry(tmp_path: Path, wall: Wall) -> None:
    async with gateway(tmp_path) as one:
        old, older = await enter(one), await enter(one)
        write(tmp_path, config(leeway=HOUR, on_expiry="ignore"), plugin=PLUGIN + "\n")
        await one.reload()
        new = await enter(one)
        assert await older.call("refresh", token(exp=int(time.time()) + 3 * HOUR))
        wall.ahead = HOUR + 1
        await expect_the_end(old)
        assert await new.call("told") == [["server namespace disconnect"]]
        wall.ahead = 3 * HOUR + 1
        await expect_the_end(older)
        await until(lambda: len(one._server.live.alive) == 1)
        assert timers() == []
        assert await new.call("told") == [["server namespace disconnect"] * 2]


def timers() -> list[asyncio.TimerHandle]:
    """The timers of stays that are set."""
    scheduled: list[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    of_stays = [each for each in scheduled if "Stay._wait" in repr(each)]
    return [each for each in of_stays if not each.cancelled()]


@pytest.mark.parametrize("how", ["lose", "disconnect"])
async def test_a_socket_that_is_gone_has_no_timer(tmp_path: Path, wall: Wall, how: str) -> None:
    async with gateway(tmp_path) as one:
        client = await enter(one)
        gone = stay(client)
        assert len(timers()) == 1
        await getattr(client, how)()
        await until(lambda: not _stays._STAYS)
        assert gone._timer is None
        assert timers() == []


async def test_a_socket_that_is_refused_after_all_has_no_timer(tmp_path: Path, wall: Wall) -> None:
    async with gateway(tmp_path, "plugin.strict") as one:
        with pytest.raises(Refused):
            await enter(one)
        assert _stays._STAYS == {}
        assert timers() == []


async def test_a_token_that_expires_while_its_socket_connects(tmp_path: Path, wall: Wall) -> None:
    async with gateway(tmp_path, "plugin.slow") as one:
        witness = await one.connect("/open")
        client = one.client(auth={"token": token(), "slow": True}, timeout=60)
        connecting = asyncio.ensure_future(client.connect())
        await until(lambda: _stays._STAYS)
        wall.ahead = HOUR + 1
        await wall.looked_at()
        assert not connecting.done()
        await witness.call("let")
        await connecting
        await expect_the_end(client)


async def test_a_token_that_is_found_valid_when_its_socket_is_gone(
    tmp_path: Path, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked, verified = asyncio.Event(), Tokens.claims

    async def claims_later(tokens: Tokens, text: str) -> dict[str, Any]:
        await checked.wait()
        return await verified(tokens, text)

    async with gateway(tmp_path) as one:
        client = await enter(one)
        gone = stay(client)
        monkeypatch.setattr(Tokens, "claims", claims_later)
        await client.emit("refresh", token())
        await client.lose()
        await until(lambda: not _stays._STAYS)
        checked.set()
        await until(lambda: not one._server.live.packets)
        assert gone._timer is None
        assert timers() == []
