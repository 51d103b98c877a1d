"""Refusals that a setting causes: the log names what, of whom and the key; the client gets a hint.

Each test speaks to a daemon over a socket, as the client that is refused.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from gateway.engineio.refusals import BUSY
from gateway.runtime.outcome import BUSY as BUSY_REJECT
from gateway.runtime.outcome import error_payload
from tests.certificates import TLS
from tests.daemon_in_loop import served
from tests.deadline import deadline, until
from tests.gateway_files import write
from tests.raw_client import raw

CONFIG = """
reload: {{watch: "off"}}
server: {{{server}}}
limits: {{{limits}}}
namespaces:
  /: {{routes: {{say: chat.say}}}}
  /guarded:
    connection_middleware: [chat.open, chat.guard]
    connect_timeout: 50ms
    limits: {{{own}}}
"""

CHAT = """
import asyncio
from gateway import Reject

async def say(ctx, *args):
    return args

async def open(ctx, next):
    await next()

async def guard(ctx, next):
    match ctx.socket.handshake.auth.get("how"):
        case "reject":
            refusal = Reject("unauthorized", "log in first")
            refusal.add_note("no token")
            raise refusal
        case "return":
            return
        case "hang":
            await asyncio.Event().wait()
        case "fail":
            raise KeyError("dsn")
        case "leave":
            await ctx.socket.disconnect()
    await next()

async def check(ctx, next):
    if "silent" in ctx.handshake.query:
        return
    raise Reject("banned", "go away", status=451)
"""

OLD = "this server speaks Engine.IO 4: use socket.io-client 3 or 4"
NOT_LISTED = "the origin of this page is not in server.cors_origins"
OTHER_PATH = "the client's option path has to be server.path"


@pytest.fixture
def gateway(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Any:
    """A daemon with these keys of `server`, `limits` and the limits of `/guarded`."""
    caplog.set_level("INFO", "sockgw")

    def make(server: str = "", limits: str = "", own: str = "") -> Any:
        return served(
            write(tmp_path, CONFIG.format(server=server, limits=limits, own=own), chat=CHAT)
        )

    return make


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines about refusals, limits and violations."""
    words = ("refused ", "limit ", "violation ")
    return [each for each in caplog.messages if each.startswith(words)]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]


async def ask(url: str, target: str, **headers: str) -> tuple[int, str, str, str | None]:
    """The answer's status, reason, body and the origin that may read it."""
    async with aiohttp.ClientSession() as http, http.get(url + target, headers=headers) as answer:
        allowed = answer.headers.get("Access-Control-Allow-Origin")
        return answer.status, answer.reason or "", await answer.text(), allowed


POLL = "/socket.io/?EIO=4&transport=polling"


async def test_a_page_of_another_origin(gateway: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with gateway() as url:
        status, reason, body, allowed = await ask(url, POLL, Origin="https://shop.example")
    assert (status, reason) == (403, f"Forbidden: {NOT_LISTED}")
    assert json.loads(body) == {"code": 4, "message": "Forbidden", "hint": NOT_LISTED}
    assert allowed == "*"
    assert told(caplog) == [
        "refused origin 'https://shop.example' of 127.0.0.1: add it to server.cors_origins"
    ]


async def test_a_page_that_has_no_origin(gateway: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with gateway() as url:
        assert (await ask(url, POLL, Origin="null"))[0] == 403
    assert told(caplog) == [
        (
            "refused origin 'null' of 127.0.0.1: "
            "the page is a file, or in a sandboxed frame: serve it over HTTP"
        )
    ]


async def test_a_page_behind_a_proxy_that_ends_tls(
    gateway: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway() as url:
        assert (await ask(url, POLL, Host="shop.example", Origin="https://shop.example"))[0] == 403
    assert told(caplog) == [
        (
            "refused origin 'https://shop.example' of 127.0.0.1: add it to server.cors_origins, "
            "or the proxy that ends TLS to server.trusted_proxies"
        )
    ]


async def test_a_websocket_of_a_page_of_another_origin(
    gateway: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway() as url, aiohttp.ClientSession() as http:
        path = f"{url}/socket.io/?EIO=4&transport=websocket"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(path, headers={"Origin": "http://localhost:5173"})
    assert refused.value.status == 403
    assert told(caplog) == [
        "refused origin 'http://localhost:5173' of 127.0.0.1: add it to server.cors_origins"
    ]


async def test_another_path(gateway: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with gateway("path: /secret/") as url:
        status, reason, body, allowed = await ask(url, POLL)
        assert (await ask(url, "/favicon.ico"))[2] == "404: Not Found"
    assert (status, reason, allowed) == (404, f"Not Found: {OTHER_PATH}", "*")
    assert body == f"404: Not Found: {OTHER_PATH} of this server"
    assert told(caplog) == [
        (
            "refused path '/socket.io/' of 127.0.0.1: "
            "server.path is '/secret/': give the client the same path"
        )
    ]


async def test_a_transport_that_is_switched_off(
    gateway: Any, caplog: pytest.LogCaptureFixture
) -> None:
    hint = "this transport is not in server.transports"
    async with gateway("transports: [websocket]") as url:
        status, reason, body, _ = await ask(url, POLL)
    assert (status, reason) == (400, f"Bad Request: {hint}")
    assert json.loads(body) == {"code": 0, "message": "Transport unknown", "hint": hint}
    assert told(caplog) == ["refused transport 'polling' of 127.0.0.1: add it to server.transports"]


async def test_a_transport_that_there_is_not(
    gateway: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway() as url:
        status, reason, body, _ = await ask(url, "/socket.io/?EIO=4&transport=flash")
    assert (status, reason) == (400, "Bad Request")
    assert json.loads(body) == {"code": 0, "message": "Transport unknown"}
    assert told(caplog) == ["violation unknown_transport by 127.0.0.1: a GET request"]


async def test_an_old_client(gateway: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with gateway() as url:
        status, reason, body, _ = await ask(url, "/socket.io/?EIO=3&transport=polling")
    assert (status, reason) == (400, f"Bad Request: {OLD}")
    assert json.loads(body)["hint"] == OLD
    assert told(caplog) == [f"refused protocol version '3' of 127.0.0.1: {OLD}"]


async def test_a_namespace_that_there_is_not(
    gateway: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway() as url, raw(url) as client:
        assert await client.join("/chta") == '44/chta,{"message":"Invalid namespace"}'
    assert told(caplog) == ["refused namespace '/chta' of 127.0.0.1: add it to namespaces"]


@pytest.mark.parametrize(
    ("how", "message", "why"),
    [
        (
            "reject",
            '{"message":"log in first","data":{"code":"unauthorized"}}',
            "middleware 'chat.guard': unauthorized: log in first (no token)",
        ),
        (
            "return",
            '{"message":"connection refused","data":{"code":"refused"}}',
            (
                "middleware 'chat.guard' returned without calling next(); "
                "to refuse on purpose, raise Reject"
            ),
        ),
        (
            "hang",
            '{"message":"connecting took too long","data":{"code":"timeout"}}',
            (
                "middleware 'chat.guard' took longer than 0.05 s: "
                "to allow it, raise namespaces./guarded.connect_timeout"
            ),
        ),
        (
            "leave",
            '{"message":"connection refused","data":{"code":"refused"}}',
            "a plugin has disconnected it",
        ),
    ],
)
async def test_a_connection_that_middleware_refuses(
    gateway: Any, caplog: pytest.LogCaptureFixture, how: str, message: str, why: str
) -> None:
    async with gateway() as url, raw(url) as client:
        assert await client.join("/guarded", json.dumps({"how": how})) == f"44/guarded,{message}"
    assert told(caplog) == [f"refused connection to '/guarded' of 127.0.0.1: {why}"]
    assert warnings(caplog) == (told(caplog) if how == "return" else [])


async def test_a_secret_in_a_refusal_is_not_in_the_status(tmp_path: Path) -> None:
    config = """
    admin: {socket: admin.sock}
    namespaces: {/: {connection_middleware: [{use: chat.Guard, with: {password: hunter2}}]}}
    """
    chat = """
    from gateway import Reject

    class Guard:
        def __init__(self, password: str):
            self.password = password
        async def __call__(self, ctx, next):
            raise Reject("unauthorized", f"it is not {self.password}")
    """
    connector = aiohttp.UnixConnector(str(tmp_path / "admin.sock"))
    async with (
        served(write(tmp_path, config, chat=chat)) as url,
        raw(url) as client,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        await client.join()
        async with http.get("http://admin/-/status") as answer:
            [refused] = (await answer.json())["refused"]
    assert refused.pop("at") > 0
    assert refused == {
        "what": "connection to '/'",
        "who": "127.0.0.1",
        "cure": "middleware 'chat.Guard': unauthorized: it is not ***",
        "count": 1,
    }


async def test_a_connection_whose_middleware_fails_is_told_once(
    gateway: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway() as url, raw(url) as client:
        await client.join("/guarded", '{"how":"fail"}')
    assert told(caplog) == []
    [record] = [each for each in caplog.records if each.levelname == "ERROR"]
    assert record.getMessage() == "KeyError in connecting"


@pytest.mark.parametrize(
    ("query", "status", "why"),
    [
        ("", 451, ": HTTP 451: banned: go away"),
        ("&silent=1", 403, " returned without calling next(); to refuse on purpose, raise Reject"),
    ],
)
async def test_a_handshake_that_middleware_refuses(
    gateway: Any, caplog: pytest.LogCaptureFixture, query: str, status: int, why: str
) -> None:
    async with gateway("handshake_middleware: [chat.check]") as url:
        assert (await ask(url, POLL + query))[0] == status
    assert told(caplog) == [f"refused handshake of 127.0.0.1: middleware 'chat.check'{why}"]
    assert warnings(caplog) == (told(caplog) if "returned" in why else [])


async def test_a_session_too_many(gateway: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with gateway(limits="sockets_per_address: 1") as url, raw(url):
        status, _, body, _ = await ask(url, POLL)
    assert (status, json.loads(body)) == (503, error_payload(BUSY_REJECT))
    assert error_payload(BUSY_REJECT) == BUSY
    assert told(caplog) == [
        (
            "limit sockets_per_address by 127.0.0.1: a connection was refused: "
            "to allow it, raise limits.sockets_per_address"
        )
    ]


def too_many(sid: str, key: str) -> str:
    return (
        f"limit sockets by socket {sid} of 127.0.0.1: "
        f"a connection to /guarded was refused: to allow it, raise {key}"
    )


async def test_a_socket_too_many(gateway: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with gateway(limits="sockets: 1") as url, raw(url) as client:
        sid = str(await client.join())[10:30]
        assert "busy" in str(await client.join("/guarded"))
    assert told(caplog) == [too_many(sid, "limits.sockets")]


async def test_a_socket_too_many_in_its_namespace(
    gateway: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway(own="sockets: 1") as url, raw(url) as other, raw(url) as client:
        assert str(await other.join("/guarded")).startswith("40/guarded,")
        sid = str(await client.join())[10:30]
        assert "busy" in str(await client.join("/guarded"))
    assert told(caplog) == [too_many(sid, "namespaces./guarded.limits.sockets")]


async def test_a_body_over_the_limit(gateway: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with (
        gateway("max_payload: 1KB") as url,
        raw(url, "polling") as client,
        aiohttp.ClientSession() as http,
    ):
        sid = str(await client.join())[10:30]
        target = f"{url}{POLL}&sid={client.handshake['sid']}"
        async with http.post(target, data=b"4" * 1001) as answer:
            assert answer.status == 413
            assert str(answer.reason).endswith(": over server.max_payload")
            assert await answer.json() == {
                "code": "too_large",
                "message": "the body is larger than this server allows",
            }
    assert told(caplog) == [
        (
            f"violation too_large by socket {sid} of 127.0.0.1: a body over the limit: "
            "to allow it, raise server.max_payload"
        )
    ]


async def test_a_message_over_the_limit(gateway: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with gateway("max_payload: 1KB") as url, raw(url) as client:
        await client.send("4" * 1001)
        assert await client.receive() is None
    assert told(caplog) == [
        (
            "violation too_large by 127.0.0.1: a message of 1001 bytes or more: "
            "to allow it, raise server.max_payload"
        )
    ]


async def test_packets_that_are_not_read_are_not_told_as_bytes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = """
    reload: {watch: "off"}
    limits: {send_packets: 10}
    namespaces: {/: {routes: {flood: chat.flood}}}
    """
    chat = """
    async def flood(ctx):
        for number in range(20):
            await ctx.socket.emit("line", number)
    """
    caplog.set_level("INFO", "sockgw")
    async with served(write(tmp_path, config, chat=chat)) as url, raw(url, "polling") as client:
        sid = str(await client.join())[10:30]
        await client.send('42["flood"]')
        await until(lambda: told(caplog))
    assert told(caplog) == [
        (
            f"limit send_packets by socket {sid} of 127.0.0.1: "
            "10 packets are not read: disconnected: to allow it, raise limits.send_packets"
        )
    ]


async def test_tls_on_a_plain_port(gateway: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with gateway() as url, deadline():
        with pytest.raises(ssl.SSLError):
            await asyncio.open_connection(
                "127.0.0.1", urlsplit(url).port, ssl=ssl.create_default_context()
            )
    assert told(caplog) == [
        "violation http by 127.0.0.1: TLS where HTTP is spoken: use http://, or set server.tls"
    ]


async def test_plain_http_on_a_tls_port(gateway: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with gateway(f"tls: {{cert: {TLS / 'one.pem'}, key: {TLS / 'one.key'}}}") as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with deadline():
            await reader.read()
        writer.close()
        await until(lambda: told(caplog))
    assert told(caplog) == [
        (
            "violation http by 127.0.0.1: HTTP where TLS is spoken: "
            "use https://, or take server.tls away"
        )
    ]
