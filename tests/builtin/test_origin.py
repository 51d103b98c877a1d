from __future__ import annotations

from typing import Any

import pytest

from gateway.testing import Refused
from tests.builtin.conftest import Guarded, use

ALLOW = ["https://example.com", "https://*.example.org:8443", "http://[::1]:80", "app://-"]


@pytest.mark.parametrize(
    "origin",
    [
        "https://example.com",
        "https://EXAMPLE.com",
        "https://a.example.org:8443",
        "https://a.b.example.org:8443",
        "http://[::1]",
        "app://-",
    ],
)
async def test_a_page_of_these_origins_is_let_in(guarded: Guarded, origin: str) -> None:
    chain = [use("origin", {"allow": ALLOW})]
    async with guarded(connection_middleware=chain) as gateway:
        assert (await gateway.connect(headers={"Origin": origin})).connected


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://example.com",
        "https://example.com:8443",
        "https://example.com.evil.example",
        "https://evilexample.com",
        "https://a.example.com",
        "https://example.org:8443",
        "https://a.example.org",
        "https://aexample.org:8443",
        "https://evil.example/.example.org:8443",
        "https://example.com\n",
    ],
)
async def test_any_other_page_is_refused(guarded: Guarded, origin: str) -> None:
    chain = [use("origin", {"allow": ALLOW})]
    async with guarded(connection_middleware=chain) as gateway:
        with pytest.raises(Refused) as refused:
            await gateway.connect(headers={"Origin": origin})
    assert (refused.value.message, refused.value.data) == (
        "origin not allowed",
        {"code": "forbidden"},
    )


@pytest.mark.parametrize(
    ("options", "connects"),
    [({}, True), ({"missing": "allow"}, True), ({"missing": "refuse"}, False)],
)
async def test_a_client_without_an_origin(
    guarded: Guarded, options: dict[str, Any], connects: bool
) -> None:
    chain = [use("origin", {"allow": ALLOW, **options})]
    async with guarded(connection_middleware=chain) as gateway:
        client = gateway.client()
        if connects:
            await client.connect()
        else:
            with pytest.raises(Refused):
                await client.connect()
