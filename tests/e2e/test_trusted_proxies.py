"""Behind trusted proxies everything goes by the client: its address, and the origin it asked.

Every request here comes from 127.0.0.1 over plain HTTP, as from a proxy on the same machine that
ends TLS; `test_real_proxies` has real ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest

from gateway.testing import TestGateway
from tests.gateway_files import write
from tests.limits.limited_daemon import ask
from tests.raw_client import raw
from tests.reload.edited_daemon import running

TRANSPORTS = pytest.mark.parametrize("transport", ["polling", "websocket"])

CONFIG = """
reload: {watch: "off"}
admin: {socket: admin.sock}
server: {trusted_proxies: [127.0.0.1]}
namespaces:
  /:
    routes: {who: plugin.who}
"""

PLUGIN = """
async def who(ctx):
    handshake = ctx.socket.handshake
    return handshake.address, handshake.secure

async def tell(ctx, next):
    ctx.headers["X-Who"] = f"{ctx.handshake.address} {ctx.handshake.secure}"
    await next()
"""

PAGE = {"Host": "chat.example", "Origin": "https://chat.example"}
PROXIED = {"X-Forwarded-For": "1.1.1.1, 203.0.113.7", "X-Forwarded-Proto": "https"}


PATH = "/socket.io/?EIO=4&transport="


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "sockgw")


def daemon(folder: Path, more: str = "", config: str = CONFIG) -> Any:
    return running(folder, config + more, plugin=PLUGIN)


async def who(
    url: str, headers: Mapping[str, str], transport: Literal["polling", "websocket"] = "polling"
) -> Any:
    """The address and `secure` in the handshake of a client with these headers."""
    async with raw(url, transport, headers) as client:
        await client.join()
        return await ask(client, "who")


async def status(
    url: str, headers: Mapping[str, str], transport: str = "polling", method: str = "GET"
) -> int:
    """The status of the answer to the first request of a client; 101 for a WebSocket."""
    upgrade = {"Connection": "upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "MTIzNDU2Nzg5MDEyMzQ1Ng=="}
    more = {**upgrade, **key} if transport == "websocket" else {}
    async with (
        aiohttp.ClientSession(headers={**headers, **more}) as http,
        http.request(method, url + PATH + transport) as answer,
    ):
        return answer.status


@TRANSPORTS
async def test_the_handshake_is_the_clients(tmp_path: Path, transport: Any) -> None:
    forwarded = {"Forwarded": 'for="[2001:db8::1]:4711";proto=https'}
    async with daemon(tmp_path) as one:
        assert await who(one.url, {}, transport) == ["127.0.0.1", False]
        assert await who(one.url, PROXIED, transport) == ["203.0.113.7", True]
        assert await who(one.url, forwarded, transport) == ["2001:db8::1", True]


@TRANSPORTS
async def test_handshake_middleware_sees_the_client(tmp_path: Path, transport: str) -> None:
    config = CONFIG.replace("server: {", "server: {handshake_middleware: [plugin.tell], ")
    async with (
        daemon(tmp_path, config=config) as one,
        aiohttp.ClientSession(headers=PROXIED) as http,
    ):
        if transport == "polling":
            async with http.get(one.url + PATH + transport) as answer:
                headers = answer.headers
        else:
            async with http.ws_connect(one.url + PATH + transport) as websocket:
                headers = websocket._response.headers
        assert headers["X-Who"] == "203.0.113.7 True"
        assert await who(one.url, PROXIED) == ["203.0.113.7", True]


async def test_clients_that_share_a_connection_of_the_proxy_are_told_apart(tmp_path: Path) -> None:
    async with (
        daemon(tmp_path, "limits: {sockets_per_address: 1}\n") as one,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as http,
    ):
        statuses = []
        for address in ("203.0.113.7", "203.0.113.8", "203.0.113.7"):
            headers = {"X-Forwarded-For": address}
            async with http.get(f"{one.url}{PATH}polling", headers=headers) as answer:
                statuses.append(answer.status)
        assert statuses == [200, 200, 503]


@TRANSPORTS
async def test_the_page_of_the_host_that_the_browser_asked_may_connect(
    tmp_path: Path, transport: str
) -> None:
    inner = {"Host": "127.0.0.1:7001", "Origin": "https://chat.example:8443"}
    told = {"X-Forwarded-Host": "chat.example:8443", **PROXIED}
    default_port = {**PAGE, "X-Forwarded-Host": "chat.example:443"}
    fine = 101 if transport == "websocket" else 200
    async with daemon(tmp_path) as one:
        assert await status(one.url, {**PAGE, **PROXIED}, transport) == fine
        assert await status(one.url, {**inner, **told}, transport) == fine
        assert await status(one.url, {**default_port, **PROXIED}, transport) == fine
        assert await status(one.url, {**PAGE, "X-Forwarded-Proto": "wss"}, transport) == fine
        assert await status(one.url, {**PAGE, "Forwarded": "proto=https"}, transport) == fine
        for foreign in ("https://evil.example", "http://chat.example", "https://127.0.0.1:7001"):
            headers = {**PAGE, **PROXIED, "Origin": foreign}
            assert await status(one.url, headers, transport) == 403
        assert await status(one.url, {**PAGE, "X-Forwarded-Proto": "http"}, transport) == 403
        assert await status(one.url, PAGE, transport) == 403


async def test_a_page_of_the_host_may_post_and_ask_beforehand(tmp_path: Path) -> None:
    headers = {**PAGE, **PROXIED}
    async with daemon(tmp_path) as one:
        assert await status(one.url, headers, method="OPTIONS") == 204
        assert await who(one.url, headers) == ["203.0.113.7", True]
        assert (
            await status(one.url, {**headers, "Origin": "https://evil.example"}, method="POST")
            == 403
        )


async def test_nobody_else_is_believed(tmp_path: Path) -> None:
    forged = {**PROXIED, "Forwarded": "for=203.0.113.7;proto=https"}
    for listed in ("10.0.0.0/8", "unix"):
        config = CONFIG.replace("[127.0.0.1]", f"[{listed}]")
        async with daemon(tmp_path, config=config) as one:
            assert await who(one.url, forged) == ["127.0.0.1", False]
            assert await status(one.url, {**PAGE, **forged}) == 403


@TRANSPORTS
async def test_limits_by_address_count_clients_and_the_log_names_them(
    tmp_path: Path, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        daemon(tmp_path, "limits: {sockets_per_address: 1}\n") as one,
        raw(one.url, headers={"X-Forwarded-For": "203.0.113.7"}),
        raw(one.url, headers={"X-Forwarded-For": "203.0.113.8"}),
        raw(one.url, headers={"X-Forwarded-For": "2001:db8:0:1::1"}),
        raw(one.url, headers={"X-Forwarded-For": "2001:db8:0:2::1"}),
    ):
        for address in ("203.0.113.7", "::ffff:203.0.113.8", "2001:db8:0:1:ffff::2"):
            assert await status(one.url, {"X-Forwarded-For": address}, transport) == 503
        assert await status(one.url, {"X-Forwarded-For": "2001:db8:0:3::1"}, transport) in (
            200,
            101,
        )
        label = 'limit="sockets_per_address"'
        assert await one.metric(f"sockgw_limited_total{{{label}}}") == 3
    line = "limit sockets_per_address by 203.0.113.7: a connection was refused: "
    assert f"{line}to allow it, raise limits.sockets_per_address" in caplog.messages


async def test_the_sockets_of_an_ipv6_network_count_together(tmp_path: Path) -> None:
    async with (
        daemon(tmp_path, "  /calm:\nlimits: {sockets_per_address: 2}\n") as one,
        raw(one.url, headers={"X-Forwarded-For": "2001:db8::1"}) as first,
        raw(one.url, "polling", {"X-Forwarded-For": "2001:db8::2"}) as second,
        raw(one.url, headers={"X-Forwarded-For": "2001:db8:0:1::1"}) as other,
    ):
        assert str(await first.join()).startswith("40{")
        assert str(await second.join()).startswith("40{")
        assert str(await first.join("/calm")).startswith('44/calm,{"message":"too much to do"')
        assert str(await other.join()).startswith("40{")
        assert str(await other.join("/calm")).startswith("40/calm,{")
        await second.send("41")
        assert str(await first.join("/calm")).startswith("40/calm,{")


async def test_refusals_name_the_client(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with daemon(tmp_path) as one:
        assert await status(one.url, {**PROXIED, "Origin": "https://evil.example"}) == 403
        assert await status(one.url, PROXIED, "pigeon") == 400
    texts = "\n".join(caplog.messages)
    assert "refused origin 'https://evil.example' of 203.0.113.7: " in texts
    assert "violation unknown_transport by 203.0.113.7: a GET request" in texts


async def test_fields_that_cannot_be_read_are_ignored_counted_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with daemon(tmp_path) as one:
        for _ in range(2):
            assert await who(one.url, {**PROXIED, "X-Forwarded-For": "me"}) == ["127.0.0.1", False]
        label = 'kind="forwarded"'
        assert await one.metric(f"sockgw_violations_total{{{label}}}") == 2
    line = "violation forwarded by 127.0.0.1: cannot read x-forwarded-for, x-forwarded-proto"
    assert caplog.messages.count(line) == 1


async def test_built_ins_see_the_client(tmp_path: Path) -> None:
    guards = """
    connection_middleware:
      - {use: builtin.ip_allow, with: {allow: [203.0.113.0/24]}}
      - {use: builtin.rate_limit, with: {rate: 1, per: 3600, by: address}}
"""
    async with daemon(tmp_path, guards) as one:
        answers = []
        for address in ("203.0.113.7", "198.51.100.1", "203.0.113.8", "203.0.113.7"):
            async with raw(one.url, headers={"X-Forwarded-For": address}) as client:
                answers.append(str(await client.join()))
    assert [each[:2] for each in answers] == ["40", "44", "40", "44"]
    assert [json.loads(answers[n][2:])["data"]["code"] for n in (1, 3)] == [
        "forbidden",
        "rate_limited",
    ]


async def test_a_reload_changes_who_is_believed(tmp_path: Path) -> None:
    without = CONFIG.replace("{trusted_proxies: [127.0.0.1]}", "{}")
    async with daemon(tmp_path, config=without) as one, raw(one.url, headers=PROXIED) as early:
        await early.join()
        assert await status(one.url, {**PAGE, **PROXIED}) == 403
        one.config(CONFIG)
        verdict = await one.reload()
        assert verdict.plan.changes == ("~ server.trusted_proxies: [] -> [127.0.0.1]",)
        assert await status(one.url, {**PAGE, **PROXIED}) == 200
        assert await who(one.url, PROXIED) == ["203.0.113.7", True]
        assert await ask(early, "who") == ["127.0.0.1", False]
        one.config(without)
        await one.reload()
        assert await who(one.url, PROXIED) == ["127.0.0.1", False]


async def test_a_gateway_under_test_believes_its_own_machine(tmp_path: Path) -> None:
    config = CONFIG.replace("server: {", "server: {handshake_middleware: [plugin.tell], ")
    for text in (CONFIG, config):
        async with TestGateway(write(tmp_path, text, plugin=PLUGIN)) as gateway:
            client = await gateway.connect(headers=PROXIED)
            assert await client.call("who") == ["203.0.113.7", True]
