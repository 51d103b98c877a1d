"""Keys at a URL: when they are fetched, and what is known while they cannot be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from gateway.testing import Refused, TestGateway
from tests.app_site import serve_app
from tests.builtin.conftest import Clock, Guarded, use
from tests.builtin.signing import Signer, key_set, signer

OLD, NEW = signer("ES256", "old"), signer("ES256", "new")


class Issuer:
    """Serves a key set, counts how often it was asked, and fails when told to."""

    url = ""

    def __init__(self) -> None:
        self.keys = key_set(OLD.jwk(kid="old"))
        self.status = 200
        self.asked = 0
        self.is_asked = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    async def serve(self, request: web.Request) -> web.Response:
        self.asked += 1
        self.is_asked.set()
        await self.answers.wait()
        return web.Response(text=self.keys, status=self.status)


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    issuer = Issuer()
    app = web.Application()
    app.router.add_get("/keys", issuer.serve)
    async with serve_app(app) as url:
        issuer.url = f"{url}/keys"
        yield issuer


@pytest.fixture(autouse=True)
def _time(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.builtin._fetched.monotonic", clock)


def checked(guarded: Guarded, url: str) -> TestGateway:
    options = {"algorithms": ["ES256"], "jwks_url": url, "max_age": 600, "pause": 30}
    return guarded(connection_middleware=[use("jwt", options)])


async def enters(gateway: TestGateway, signer: Signer, kid: str) -> Any:
    """`True`, or the code a client with a token of this signer is refused with."""
    try:
        await gateway.connect(auth={"token": signer.token(kid)})
    except Refused as refused:
        data: Any = refused.data
        return data["code"]
    return True


async def test_keys_are_fetched_by_the_first_client_and_kept(
    guarded: Guarded, issuer: Issuer, clock: Clock
) -> None:
    async with checked(guarded, issuer.url) as gateway:
        assert issuer.asked == 0
        for _ in range(3):
            assert await enters(gateway, OLD, "old") is True
        clock.now += 599
        assert await enters(gateway, OLD, "old") is True
        assert issuer.asked == 1
        clock.now += 1
        issuer.keys = key_set(NEW.jwk(kid="new"))
        assert await enters(gateway, OLD, "old") == "unauthorized"
        assert issuer.asked == 2


async def test_an_unknown_key_is_asked_for_but_not_more_often_than_agreed(
    guarded: Guarded, issuer: Issuer, clock: Clock
) -> None:
    async with checked(guarded, issuer.url) as gateway:
        assert await enters(gateway, OLD, "old") is True
        issuer.keys = key_set(OLD.jwk(kid="old"), NEW.jwk(kid="new"))
        clock.now += 29
        assert await enters(gateway, NEW, "new") == "unauthorized"
        assert issuer.asked == 1
        clock.now += 1
        assert await enters(gateway, NEW, "new") is True
        assert await enters(gateway, OLD, "old") is True
        for _ in range(5):
            assert await enters(gateway, NEW, "made up") == "unauthorized"
        assert issuer.asked == 2


@pytest.mark.parametrize(("status", "keys"), [(500, ""), (302, ""), (200, "<html>"), (200, "{}")])
async def test_what_is_known_stays_in_use_while_fetching_fails(
    guarded: Guarded,
    issuer: Issuer,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    status: int,
    keys: str,
) -> None:
    async with checked(guarded, issuer.url) as gateway:
        assert await enters(gateway, OLD, "old") is True
        issuer.status, issuer.keys = status, keys
        clock.now += 86_400
        for _ in range(3):
            assert await enters(gateway, OLD, "old") is True
        assert issuer.asked == 2
        clock.now += 30
        issuer.status, issuer.keys = 200, key_set(NEW.jwk(kid="new"))
        assert await enters(gateway, NEW, "new") is True
    [warning] = [each.getMessage() for each in caplog.records if each.levelno > logging.INFO]
    assert warning.startswith(f"cannot fetch {issuer.url} (")
    assert warning.endswith("); the old content stays in use")


async def test_without_any_keys_nobody_is_let_in_and_told_to_come_again(
    guarded: Guarded, issuer: Issuer, clock: Clock
) -> None:
    issuer.status = 503
    async with checked(guarded, issuer.url) as gateway:
        assert await enters(gateway, OLD, "old") == "unavailable"
        issuer.status = 200
        assert await enters(gateway, OLD, "old") == "unavailable"
        clock.now += 30
        assert await enters(gateway, OLD, "old") is True
        assert issuer.asked == 2


async def test_clients_that_come_together_wait_for_one_fetch_even_when_the_first_leaves(
    guarded: Guarded, issuer: Issuer
) -> None:
    issuer.answers.clear()
    async with checked(guarded, issuer.url) as gateway:
        first = gateway.client(auth={"token": OLD.token("old")})
        connecting = asyncio.create_task(first.connect())
        others = [asyncio.create_task(enters(gateway, OLD, "old")) for _ in range(5)]
        await issuer.is_asked.wait()
        await first.lose()
        connecting.cancel()
        issuer.answers.set()
        assert await asyncio.gather(*others) == [True] * 5
        assert issuer.asked == 1
        assert await enters(gateway, OLD, "old") is True
