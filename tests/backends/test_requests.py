"""What a backend is told, and that it can trust it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from gateway.testing import TestGateway
from tests.backends.conftest import SECRET, Asking, Site, use
from tests.gateway_files import write

OTHER = "whsec_" + "QUJD" * 8


async def test_a_packet_is_one_object(asking: Asking, site: Site) -> None:
    site.answer = lambda seen: web.json_response({"id": 7})
    async with asking(site.url, timeout=2, auth=["token"]) as gateway:
        client = await gateway.connect(auth={"token": "t", "other": "o"})
        assert await client.call("buy", {"sku": "a"}, 2) == [{"id": 7}]
    [seen] = site.seen
    told = seen.json
    assert (seen.path, seen.headers["Content-Type"]) == ("/buy", "application/json")
    assert datetime.fromisoformat(told.pop("time")).tzinfo is not None
    assert 0 < told.pop("deadline_ms") <= 2000
    assert told.pop("id") == seen.headers["webhook-id"]
    assert told == {
        "type": "event",
        "namespace": "/",
        "event": "buy",
        "args": [{"sku": "a"}, 2],
        "ack": True,
        "sequence": 1,
        "socket": {"id": client.id, "user": None, "data": {}, "address": "127.0.0.1"},
        "headers": {},
        "auth": {"token": "t"},
    }


async def test_packets_of_a_socket_are_numbered(asking: Asking, site: Site) -> None:
    async with asking(site.url) as gateway:
        first, second = await gateway.connect(), await gateway.connect()
        await first.call("buy")
        await second.call("buy")
        await first.call("buy")
    assert [each.json["sequence"] for each in site.seen] == [1, 1, 2]
    assert len({each.json["id"] for each in site.seen}) == 3


async def test_a_packet_without_an_ack_is_told_as_such(asking: Asking, site: Site) -> None:
    async with asking(site.url) as gateway:
        client = await gateway.connect()
        await client.emit("buy")
        await client.call("buy")
    assert [each.json["ack"] for each in site.seen] == [False, True]


async def test_a_signature_is_that_of_standard_webhooks(asking: Asking, site: Site) -> None:
    async with asking(site.url, sign=SECRET) as gateway:
        await (await gateway.connect()).call("buy", "ä")
    [seen] = site.seen
    assert Webhook(SECRET).verify(seen.body, dict(seen.headers))["args"] == ["ä"]
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(seen.body.replace(b'"buy"', b'"sell"'), dict(seen.headers))


async def test_two_secrets_sign_while_one_replaces_the_other(asking: Asking, site: Site) -> None:
    async with asking(site.url, sign=[SECRET, OTHER]) as gateway:
        await (await gateway.connect()).call("buy")
    [seen] = site.seen
    for secret in (SECRET, OTHER):
        assert Webhook(secret).verify(seen.body, dict(seen.headers))


async def test_without_a_secret_nothing_is_signed(asking: Asking, site: Site) -> None:
    async with asking(site.url) as gateway:
        await (await gateway.connect()).call("buy")
    assert "webhook-signature" not in site.seen[0].headers
    assert "webhook-timestamp" in site.seen[0].headers


async def test_only_listed_fields_of_the_client_are_sent(asking: Asking, site: Site) -> None:
    headers = {"forward": ["Cookie", "x-tenant"], "set": {"X-Tenant": "ours", "x-gateway": "g"}}
    async with asking(site.url, headers=headers) as gateway:
        sent = {"cookie": "a=b", "x-tenant": "forged", "authorization": "mine"}
        await (await gateway.connect(headers=sent)).call("buy")
    [seen] = site.seen
    assert seen.headers["cookie"] == "a=b"
    assert seen.headers.getall("x-tenant") == ["ours"]
    assert seen.headers["x-gateway"] == "g"
    assert "authorization" not in seen.headers
    assert seen.json["headers"] == {"cookie": "a=b", "x-tenant": "forged"}


async def test_bytes_come_as_base64_and_go_back(asking: Asking, site: Site) -> None:
    site.answer = lambda seen: web.json_response(seen.json["args"])
    values: list[Any] = [
        b"\x00\xff",
        {"deep": [b"x"]},
        {"$base64": "real"},
        {"$$base64": b"y"},
        {"$base64": "a", "b": 1},
        "$base64",
    ]
    async with asking(site.url) as gateway:
        assert await (await gateway.connect()).call("buy", *values) == [values]
    assert site.seen[0].json["args"][:4] == [
        {"$base64": "AP8="},
        {"deep": [{"$base64": "eA=="}]},
        {"$$base64": "real"},
        {"$$$base64": {"$base64": "eQ=="}},
    ]


async def test_the_event_is_escaped_in_the_path(asking: Asking, site: Site) -> None:
    namespace = {"routes": {"a b/ü?": use("/hooks/{event}")}}
    async with asking(site.url + "/base", namespace) as gateway:
        await (await gateway.connect()).call("a b/ü?")
    assert site.seen[0].path == "/base/hooks/a%20b%2F%C3%BC%3F"


async def test_what_has_no_form_in_json_is_left_out_of_data(asking: Asking, site: Site) -> None:
    async with asking(site.url) as gateway:
        client = await gateway.connect()
        [socket] = await gateway.gateway.of("/").sockets()
        socket.data.update(name="x", thing=object())
        await client.call("buy")
    assert site.seen[0].json["socket"]["data"] == {"name": "x"}


async def test_a_large_packet_is_sent(asking: Asking, site: Site) -> None:
    site.answer = lambda seen: web.json_response(len(seen.json["args"][0]))
    async with asking(site.url) as gateway:
        assert await (await gateway.connect()).call("buy", "x" * 2_000_000) == [2_000_000]


async def test_gateway_events_have_types_of_their_own(asking: Asking, site: Site) -> None:
    routes = {name: use("/own") for name in ("connect", "disconnecting", "disconnect")}
    async with asking(site.url, {"routes": {**routes, "*": use("/any")}}) as gateway:
        client = await gateway.connect()
        await client.call("error", "forged")
        await client.disconnect()
    told = [(each.json["type"], each.json["event"], each.json["args"]) for each in site.seen]
    assert told == [
        ("connected", "connect", []),
        ("event", "error", ["forged"]),
        ("disconnecting", "disconnecting", ["client namespace disconnect"]),
        ("disconnect", "disconnect", ["client namespace disconnect"]),
    ]


async def test_json_is_read_by_others(asking: Asking, site: Site) -> None:
    async with asking(site.url) as gateway:
        await (await gateway.connect()).call("buy", "\u2028", 2**63, 1.5)
    assert json.loads(site.seen[0].body)["args"] == ["\u2028", 2**63, 1.5]


async def test_middleware_can_know_what_the_client_asked_for(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "namespaces: {/: {routes: {ask: own.tell, connect: own.tell}}}",
        own="""
            async def tell(ctx):
                await ctx.socket.emit("told", ctx.event, ctx.wants_ack, ctx.is_packet)
        """,
    )
    async with TestGateway(file) as gateway:
        client = await gateway.connect()
        await client.emit("ask")
        await client.call("ask")
        told = [(await client.receive("told")).args for _ in range(3)]
    assert told == [["connect", False, False], ["ask", False, True], ["ask", True, True]]
