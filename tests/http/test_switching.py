"""The opening handshake of a WebSocket."""

from __future__ import annotations

import pytest

from gateway.http.request import Request
from gateway.http.switching import switch_to_websocket, websocket_key

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HEADERS = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": KEY,
}


def request(method: str = "GET", **changed: str) -> Request:
    headers = HEADERS | {name.replace("_", "-"): value for name, value in changed.items()}
    return Request(method, "/", {}, "/", headers)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"connection": "keep-alive, Upgrade"},
        {"upgrade": "WebSocket"},
        {"sec_websocket_version": "8"},
    ],
)
def test_a_proper_request_has_its_key(changed: dict[str, str]) -> None:
    assert websocket_key(request(**changed)) == KEY


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "POST"},
        {"connection": "keep-alive"},
        {"upgrade": "h2c"},
        {"sec_websocket_version": "12"},
        {"sec_websocket_key": "short"},
        {"sec_websocket_key": f"{KEY}\xe9"},
    ],
)
def test_any_other_has_none(changed: dict[str, str]) -> None:
    assert websocket_key(request(**changed)) is None


def switched(compress: bool = False, **changed: str) -> tuple[str, int]:
    head, bits = switch_to_websocket(request(**changed), KEY, "Vary: Origin\r\n", compress=compress)
    return head.decode(), bits


def test_the_answer_proves_that_the_key_was_read() -> None:
    """The example of https://www.rfc-editor.org/rfc/rfc6455#section-1.3"""
    head, bits = switched()
    assert head.startswith("HTTP/1.1 101 Switching Protocols\r\n")
    assert "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
    assert "\r\nVary: Origin\r\n" in head
    assert bits == 0


def test_compression_is_agreed_on_only_where_both_want_it() -> None:
    offer = {"sec_websocket_extensions": "permessage-deflate"}
    assert "Extensions" not in switched(**offer)[0]
    head, bits = switched(compress=True, **offer)
    assert "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n" in head
    assert bits == 15


def test_the_first_of_the_protocols_that_a_client_offers_is_taken() -> None:
    """As Node's server does; browsers close a connection that names none of theirs."""
    assert "\r\nSec-WebSocket-Protocol: one\r\n" in switched(sec_websocket_protocol="one, two")[0]
    assert "Protocol:" not in switched()[0]
