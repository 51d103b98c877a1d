"""Requests told from their bytes: only those that cannot be read in two ways."""

from __future__ import annotations

import pytest
from gateway.engineio.head import Head, read

GET = b"GET /engine.io/?EIO=4&sid=a_-b HTTP/1.1\r\nHost: h\r\n\r\n"
UPGRADE = (
    b"GET /engine.io/?EIO=4 HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
POST = b"POST /engine.io/?EIO=4 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n4ab"


def test_a_plain_get_is_read() -> None:
    query = {"EIO": "4", "sid": "a_-b"}
    url = "/engine.io/?EIO=4&sid=a_-b"
    assert read(GET) == Head("GET", "/engine.io/", query, url, {"host": "h"}, None, b"")


def test_a_plain_post_is_read_with_its_body() -> None:
    head = read(POST)
    assert head is not None
    assert (head.method, head.body) == ("POST", b"4ab")


@pytest.mark.parametrize("connection", [b"Upgrade", b"upgrade", b"keep-alive, Upgrade"])
def test_a_plain_request_for_a_websocket_is_read_with_its_key(connection: bytes) -> None:
    head = read(UPGRADE.replace(b": Upgrade", b": " + connection))
    assert head is not None
    assert head.key == "dGhlIHNhbXBsZSBub25jZQ=="


def test_headers_are_told_by_names_in_lower_case_without_the_space_around_them() -> None:
    head = read(GET.replace(b"Host: h", b"HOST:h\r\nX-One: \t a b \r\nConnection: Keep-Alive"))
    assert head is not None
    assert head.headers == {"host": "h", "x-one": "a b", "connection": "Keep-Alive"}


def test_the_first_of_a_query_parameter_counts() -> None:
    head = read(GET.replace(b"EIO=4", b"EIO=4&EIO=3&&empty"))
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
        GET.replace(b"Host: h", b"Host: h\r\nConnection: Upgrade\r\nUpgrade: websocket"),
        UPGRADE + b"\x88\x80\x00\x00\x00\x00",
        UPGRADE.replace(b"GET", b"POST"),
        UPGRADE.replace(b": websocket", b": h2c"),
        UPGRADE.replace(b": websocket", b": websocket, h2c"),
        UPGRADE.replace(b"Connection: Upgrade\r\n", b""),
        UPGRADE.replace(b": Upgrade", b": keep-alive"),
        UPGRADE.replace(b": Upgrade", b": Upgrade, close"),
        UPGRADE.replace(b": Upgrade", b": Upgrade\r\nContent-Length: 0"),
        UPGRADE.replace(b": 13", b": 8"),
        UPGRADE.replace(b": 13", b": 013"),
        UPGRADE.replace(b"Sec-WebSocket-Key", b"Key"),
        UPGRADE.replace(b"ZQ==", b"ZR=="),
        UPGRADE.replace(b"ZQ==", b"ZQ="),
        UPGRADE.replace(b"ZQ==", b"ZQ== =="),
        UPGRADE.replace(b"b25jZ", b"b25j\x80"),
        GET.replace(b"Host: h", b"Host: h\r\nX: " + b"x" * 8190),
    ],
)
def test_everything_else_is_left_alone(data: bytes) -> None:
    assert read(data) is None
