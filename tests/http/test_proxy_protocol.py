"""The PROXY header, version 2, as HAProxy's specification has it."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from gateway.http.proxy_protocol import FIRST, Announced, BadHeader, client_in, size_of_rest
from tests.http.proxy_header import SIGNATURE, header, tls_field


def read(data: bytes) -> Announced | None:
    first, rest = data[:FIRST], data[FIRST:]
    assert size_of_rest(first) == len(rest)
    return client_in(first, rest)


@pytest.mark.parametrize("address", ["203.0.113.7", "2001:db8::1"])
def test_a_header_names_the_client(address: str) -> None:
    assert read(header(address)) == Announced(address, is_secure=False)


@pytest.mark.parametrize("address", ["203.0.113.7", "2001:db8::1"])
def test_a_header_may_tell_that_the_client_came_by_tls(address: str) -> None:
    other = struct.pack(">BH", 0x02, 3) + b"a.b"
    assert read(header(address, tls_field(1))) == Announced(address, is_secure=True)
    assert read(header(address, other + tls_field(7) + other)) == Announced(address, is_secure=True)
    assert read(header(address, tls_field(0))) == Announced(address, is_secure=False)
    assert read(header(address, struct.pack(">BH", 0x20, 0))) == Announced(address, False)


@pytest.mark.parametrize(
    ("command", "family"),
    [(0x20, 0x00), (0x20, 0x11), (0x21, 0x00), (0x21, 0x31), (0x21, 0x12), (0x21, 0xFF)],
)
def test_a_header_that_names_no_client_by_address(command: int, family: int) -> None:
    for size in (0, 5, 12, 216):
        assert read(SIGNATURE + struct.pack(">BBH", command, family, size) + bytes(size)) is None


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (b"GET /socket.io/?", "no PROXY header of version 2"),
        (b"\x16\x03\x01" + bytes(13), "no PROXY header of version 2"),
        (SIGNATURE + b"\x11\x11\x00\x0c", "no PROXY header of version 2"),
        (SIGNATURE + b"\x22\x11\x00\x0c", "no PROXY header of version 2"),
        (SIGNATURE + b"\x21\x11\x10\x01", "a PROXY header of 4113 bytes"),
        (SIGNATURE + b"\x21\x11\xff\xff", "a PROXY header of 65551 bytes"),
        (b"PROXY TCP4 203.0", "a PROXY header of version 1: let the proxy write version 2"),
    ],
)
def test_other_bytes_are_no_header(first: bytes, message: str) -> None:
    with pytest.raises(BadHeader) as refused:
        size_of_rest(first)
    assert str(refused.value) == message


@pytest.mark.parametrize("address", ["203.0.113.7", "2001:db8::1"])
def test_a_header_is_as_long_as_what_it_says(address: str) -> None:
    both = 4 + 2 * len(ip_address(address).packed)
    whole = header(address, tls_field(1))
    for end in range(FIRST, len(whole)):
        if end != FIRST + both:
            with pytest.raises(BadHeader, match=r"^a PROXY header that ends too early$"):
                client_in(whole[:FIRST], whole[FIRST:end])
