"""Requests told from their bytes: only those that cannot be read in two ways."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.http import request as module
from gateway.http.request import Request, read_plain
from gateway.http.switching import websocket_key

GET = b"GET /engine.io/?EIO=4&sid=a_-b HTTP/1.1\r\nHost: h\r\n\r\n"
UPGRADE = (
    b"GET /engine.io/?EIO=4 HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
POST = b"POST /engine.io/?EIO=4 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n4ab"


def test_a_plain_get_is_read_plain() -> None:
    query = {"EIO": "4", "sid": "a_-b"}
    url = "/engine.io/?EIO=4&sid=a_-b"
    assert read_plain(GET) == Request("GET", "/engine.io/", query, url, {"host": "h"}, b"")


def test_a_plain_post_is_read_with_its_body() -> None:
    head = read_plain(POST)
    assert head is not None
    assert (head.method, head.body) == ("POST", b"4ab")


@pytest.mark.parametrize("connection", [b"Upgrade", b"upgrade", b"keep-alive, Upgrade"])
def test_a_plain_request_for_a_websocket_is_read_with_its_key(connection: bytes) -> None:
    head = read_plain(UPGRADE.replace(b": Upgrade", b": " + connection))
    assert head is not None
    assert websocket_key(head) == "dGhlIHNhbXBsZSBub25jZQ=="


def test_headers_are_told_by_names_in_lower_case_without_the_space_around_them() -> None:
    head = read_plain(
        GET.replace(b"Host: h", b"HOST:h\r\nX-One: \t a b \r\nConnection: Keep-Alive")
    )
    assert head is not None
    assert head.headers == {"host": "h", "x-one": "a b", "connection": "Keep-Alive"}


def test_the_first_of_a_query_parameter_counts() -> None:
    head = read_plain(GET.replace(b"EIO=4", b"EIO=4&EIO=3&&empty"))
    assert head is not None
    assert head.query == {"EIO": "4", "empty": "", "sid": "a_-b"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GET[:-1],
        GET + b"x",
        GET + GET,
        POST[:-1],
        POST + b"x",
        POST.replace(b"Content-Length: 3\r\n", b""),
        POST.replace(b"POST", b"GET"),
        POST.replace(b"POST", b"GET")[:-3],
        POST.replace(b": 3", b": +3"),
        POST.replace(b": 3", b": 3, 3"),
        POST.replace(b": 3", b": 3\r\nContent-Length: 3"),
        POST.replace(b": 3", b": 3\r\nTransfer-Encoding: chunked"),
        POST.replace(b": 3", b": 3\r\nContent-Encoding: gzip"),
        POST.replace(b": 3", b": 3\r\nExpect: 100-continue"),
        GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\nx"),
        GET.replace(b"GET", b"HEAD"),
        GET.replace(b"GET", b"OPTIONS"),
        GET.replace(b"GET", b"get"),
        GET.replace(b"1.1", b"1.0"),
        GET.replace(b"?", b"?a=%20&"),
        GET.replace(b"?", b"?a=1+1&"),
        GET.replace(b"/engine.io/?EIO=4&sid=a_-b", b"/engine.io/"),
        GET.replace(b"/engine", b"http://h/engine"),
        GET.replace(b"Host: h", b"X: 1"),
        GET.replace(b"Host: h", b"Host: h\r\nHost: i"),
        GET.replace(b"Host: h", b"Host : h"),
        GET.replace(b"Host: h", b"Host: h\r\n folded"),
        GET.replace(b"Host: h", b"Host: h\r\nX: a\x00"),
        GET.replace(b"Host: h", b"Host: h\r\nX: \xe9"),
        GET.replace(b"Host: h", b"Host: h\nX: a"),
        GET.replace(b"Host: h", b"Host: h\r\nConnection: close"),
        UPGRADE + b"\x88\x80\x00\x00\x00\x00",
        UPGRADE.replace(b"GET", b"POST"),
        UPGRADE.replace(b": websocket", b": h2c"),
        UPGRADE.replace(b": websocket", b": websocket, h2c"),
        UPGRADE.replace(b"b25jZ", b"b25j\x80"),
        GET.replace(b"Host: h", b"Host: h\r\nX: " + b"x" * 8190),
    ],
)
def test_everything_else_is_left_alone(data: bytes) -> None:
    assert read_plain(data) is None


BLOCK = b"Host: h\r\nUser-Agent: x\r\n"


def ask(block: bytes) -> Request:
    request = read_plain(b"GET /engine.io/?EIO=4 HTTP/1.1\r\n" + block + b"\r\n")
    assert request is not None
    return request


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> module.Known:
    """The blocks that are remembered, none at first."""
    known = module.Known()
    monkeypatch.setattr(module, "KNOWN", known)
    return known


@pytest.mark.parametrize(
    "field",
    [
        b"Cookie: secret",
        b"COOKIE: secret",
        b"authorization: secret",
        b"Proxy-Authorization: secret",
        b"X-Api-Key: secret",
        b"x-csrf-token: secret",
        b"Referer: http://h/?token=secret",
        b"Sec-WebSocket-Protocol: secret",
        b"X-Auth: secret",
        b"X-Session: secret",
    ],
)
def test_fields_that_may_carry_a_secret_are_not_remembered(
    known: module.Known, field: bytes
) -> None:
    ask(BLOCK + field + b"\r\n")
    assert known == {}


@pytest.mark.parametrize("case", [bytes.lower, bytes.upper, bytes.title])
def test_handshakes_are_not_remembered_in_whatever_case_they_are_written(
    known: module.Known, case: Callable[[bytes], bytes]
) -> None:
    lines = UPGRADE.split(b"\r\n")[1:-2]
    pairs = (line.split(b": ") for line in lines)
    request = ask(b"".join(case(name) + b": " + value + b"\r\n" for name, value in pairs))
    assert websocket_key(request) == "dGhlIHNhbXBsZSBub25jZQ=="
    assert known == {}


def test_a_block_that_comes_again_is_read_once(known: module.Known) -> None:
    assert ask(BLOCK).headers is ask(bytes(bytearray(BLOCK))).headers
    assert list(known) == [BLOCK]


def test_what_is_shared_cannot_be_written() -> None:
    with pytest.raises(TypeError):
        ask(BLOCK).headers["host"] = "x"  # type: ignore[index]


def test_the_memory_of_blocks_is_bounded_in_bytes(known: module.Known) -> None:
    for number in range(2000):
        ask(BLOCK + b"Accept: %d%s\r\n" % (number, b"x" * 500))
        assert sum(map(len, known)) <= module.REMEMBERED
    assert known
