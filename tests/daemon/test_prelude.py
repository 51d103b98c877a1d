"""A PROXY header before the first request, or before the TLS handshake."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import TLS
from tests.deadline import deadline, until
from tests.http.proxy_header import LOCAL, SIGNATURE, header, tls_field
from tests.ports import free_port
from tests.reload.edited_daemon import Running, running

CONFIG = """
reload: {watch: "off"}
admin: {socket: admin.sock}
server: {proxy_protocol: true, trusted_proxies: [127.0.0.1], handshake_middleware: [plugin.tell]}
namespaces: {/: }
"""

PLUGIN = """
from gateway import Reject

async def tell(ctx, next):
    raise Reject("seen", "the client", [ctx.handshake.address, ctx.handshake.secure], status=403)
"""

CLIENT = header("203.0.113.7")
ASK = (
    b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: chat.example\r\n"
    b"%bConnection: close\r\n\r\n"
)


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "sockgw")


def daemon(folder: Path, config: str = CONFIG) -> Any:
    return running(folder, config, plugin=PLUGIN)


def with_tls(config: str) -> str:
    return config.replace(
        "server: {", f"server: {{tls: {{cert: {TLS}/one.pem, key: {TLS}/one.key}}, "
    )


@asynccontextmanager
async def connected(
    one: Running, first: bytes = b""
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    port = int(one.url.rpartition(":")[2])
    async with deadline():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(first)
            yield reader, writer
        finally:
            writer.close()


def seen(answer: bytes) -> Any:
    """The address and `secure` in the handshake of the client that got this answer."""
    return json.loads(answer.partition(b"\r\n\r\n")[2])["data"]


async def who(one: Running, first: bytes, fields: bytes = b"") -> Any:
    """The address and `secure` of a client whose connection begins like this."""
    async with connected(one, first + ASK % fields) as (reader, _):
        return seen(await reader.read())


async def is_closed(one: Running, first: bytes) -> bool:
    """True if a connection that begins like this is closed without an answer."""
    async with connected(one, first) as (reader, _):
        try:
            return await reader.read() == b""
        except ConnectionResetError:
            return True


async def test_the_client_is_the_one_that_the_header_names(tmp_path: Path) -> None:
    async with daemon(tmp_path) as one:
        assert await who(one, CLIENT) == ["203.0.113.7", False]
        assert await who(one, header("2001:db8::1")) == ["2001:db8::1", False]
        assert await who(one, header("203.0.113.7", tls_field(1))) == ["203.0.113.7", True]


async def test_the_fields_of_a_request_are_believed_if_the_header_names_a_proxy(
    tmp_path: Path,
) -> None:
    fields = b"X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-Proto: https\r\n"
    async with daemon(tmp_path) as one:
        assert await who(one, header("127.0.0.1"), fields) == ["198.51.100.1", True]
        assert await who(one, CLIENT, fields) == ["203.0.113.7", False]


@pytest.mark.parametrize("first", [LOCAL, SIGNATURE + b"\x21\x00\x00\x03abc"])
async def test_a_proxy_that_speaks_for_itself_is_a_client_itself(
    tmp_path: Path, first: bytes
) -> None:
    async with daemon(tmp_path) as one:
        assert await who(one, first) == ["127.0.0.1", False]


async def test_a_header_may_arrive_byte_by_byte(tmp_path: Path) -> None:
    async with daemon(tmp_path) as one, connected(one) as (reader, writer):
        for byte in header("203.0.113.7", tls_field(1)) + ASK % b"":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        assert seen(await reader.read()) == ["203.0.113.7", True]


async def test_the_header_comes_before_the_tls_handshake(tmp_path: Path) -> None:
    context = ssl.create_default_context(cafile=TLS / "one.pem")
    async with daemon(tmp_path, with_tls(CONFIG)) as one:
        for first, address in ((CLIENT, "203.0.113.7"), (LOCAL, "127.0.0.1")):
            async with connected(one, first) as (reader, writer):
                await writer.start_tls(context, server_hostname="localhost")
                writer.write(ASK % b"")
                assert seen(await reader.read()) == [address, True]


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (ASK, "no PROXY header of version 2"),
        (
            b"PROXY TCP4 203.0.113.7 127.0.0.1 4711 443\r\n",
            "a PROXY header of version 1: let the proxy write version 2",
        ),
        (SIGNATURE + b"\x21\x11\xff\xff" + bytes(1000), "a PROXY header of 65551 bytes"),
        (SIGNATURE + b"\x21\x11\x00\x04" + bytes(4), "a PROXY header that ends too early"),
    ],
)
async def test_a_connection_without_a_header_is_closed_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, first: bytes, reason: str
) -> None:
    async with daemon(tmp_path) as one:
        assert await is_closed(one, first)
        assert f"violation http by 127.0.0.1: {reason}" in caplog.messages
        assert await one.metric('sockgw_violations_total{kind="http"}') == 1
        assert await who(one, CLIENT) == ["203.0.113.7", False]


async def test_a_header_has_the_time_of_a_request_to_arrive(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = f"{CONFIG}limits: {{request_timeout: 100ms}}\n"
    async with daemon(tmp_path, config) as one:
        for first in (b"", CLIENT[:5], CLIENT[:20]):
            assert await is_closed(one, first)
        assert await one.metric('sockgw_limited_total{limit="request_timeout"}') == 3
    assert (
        "limit request_timeout by 127.0.0.1: no PROXY header arrived: "
        "to allow it, raise limits.request_timeout"
    ) in caplog.messages


async def test_a_proxy_that_looks_whether_anyone_listens_is_not_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with daemon(tmp_path) as one:
        for first in (b"", CLIENT[:5]):
            async with connected(one, first) as (reader, writer):
                writer.write_eof()
                assert await reader.read() == b""
        assert await one.metric('sockgw_violations_total{kind="http"}') == 0
    assert [each for each in caplog.messages if " by 127.0.0.1" in each] == []


async def test_headers_under_way_count_as_connections(tmp_path: Path) -> None:
    config = f"{CONFIG}limits: {{connections: 2}}\n"
    async with daemon(tmp_path, config) as one:
        engine = one.serving.sockets.engine
        async with connected(one, CLIENT[:5]), connected(one, CLIENT[:5]):
            await until(lambda: engine.connections == 2)
            assert await is_closed(one, CLIENT)
            assert await one.metric('sockgw_limited_total{limit="connections"}') == 1
        await until(lambda: engine.connections == 0)
        assert await who(one, CLIENT) == ["203.0.113.7", False]


async def test_others_speak_http_and_cannot_announce_anyone(tmp_path: Path) -> None:
    config = CONFIG.replace("[127.0.0.1]", "[10.0.0.0/8]")
    async with daemon(tmp_path, config) as one:
        assert await who(one, b"") == ["127.0.0.1", False]
        async with connected(one, CLIENT + ASK % b"") as (reader, _):
            assert (await reader.read()).startswith(b"HTTP/1.1 400 Bad Request\r\n")


async def test_a_reload_turns_headers_on_and_off(tmp_path: Path) -> None:
    config = CONFIG.replace("server: {", f"server: {{port: {free_port()}, ")
    without = config.replace("proxy_protocol: true, ", "")
    async with running(tmp_path, without, port=None, plugin=PLUGIN) as one:
        url = one.url
        assert await who(one, b"") == ["127.0.0.1", False]
        one.config(config)
        verdict = await one.reload()
        assert verdict.plan.changes == ("~ server.proxy_protocol: false -> true",)
        assert one.url == url
        assert await who(one, CLIENT) == ["203.0.113.7", False]
        one.config(without)
        await one.reload()
        assert await who(one, b"") == ["127.0.0.1", False]


async def test_a_stop_does_not_wait_for_a_header(tmp_path: Path) -> None:
    async with daemon(tmp_path) as one, connected(one, CLIENT[:5]) as (reader, _):
        await until(lambda: one.serving.sockets.engine.connections)
        one.daemon.stop()
        assert await reader.read() == b""
