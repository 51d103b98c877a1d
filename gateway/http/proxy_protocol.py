"""The PROXY protocol, version 2: the header with which a proxy begins a connection for a client.

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, section 2.2
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import ip_address
from typing import NamedTuple

__all__ = ["FIRST", "Announced", "BadHeader", "client_in", "size_of_rest"]

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"

FIRST = 16
"""Bytes of the part that gives the size of the rest: signature, command, family and size."""

LARGEST = 4096
"""Bytes of the largest rest; addresses take 216 at most, what may follow is mostly short."""

LOCAL, PROXY = 0x20, 0x21
"""Version and command: the proxy speaks for itself, as in health checks, or for a client."""

FAMILIES = {0x11: (4, 12), 0x21: (16, 36)}
"""TCP over IPv4 and IPv6: bytes of an address, and of both addresses with their ports."""

SSL, OVER_TLS = 0x20, 0x01
"""The type of the field that tells of TLS, and the flag in it that is set for a client over TLS."""


class Announced(NamedTuple):
    """A client that a proxy has announced; `is_secure` is true if the proxy says it came by TLS."""

    address: str
    is_secure: bool


class BadHeader(ValueError):
    """Bytes that are not the header; what follows them has no known sender."""


def size_of_rest(first: bytes) -> int:
    """The bytes that follow the first part of a header. Raises `BadHeader`."""
    if first.startswith(b"PROXY "):
        raise BadHeader("a PROXY header of version 1: let the proxy write version 2")
    signature, command, _, size = struct.unpack(">12sBBH", first)
    if signature != SIGNATURE or command not in (LOCAL, PROXY):
        raise BadHeader("no PROXY header of version 2")
    if size > LARGEST:
        raise BadHeader(f"a PROXY header of {FIRST + size} bytes")
    return int(size)


def client_in(first: bytes, rest: bytes) -> Announced | None:
    """The client in a header; `None` if it names none by an IP address. Raises `BadHeader`."""
    *_, command, family, _ = struct.unpack(">12sBBH", first)
    if command == LOCAL or family not in FAMILIES:
        return None
    size, both = FAMILIES[family]
    if len(rest) < both:
        raise BadHeader("a PROXY header that ends too early")
    address = ip_address(rest[:size])
    flags = [value[:1] for kind, value in _fields(rest[both:]) if kind == SSL]
    return Announced(str(address), any(flag[0] & OVER_TLS for flag in flags if flag))


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the value of each field. Raises `BadHeader`."""
    while data:
        if len(data) < 3:
            raise BadHeader("a PROXY header that ends too early")
        kind, size = struct.unpack(">BH", data[:3])
        if len(data) < 3 + size:
            raise BadHeader("a PROXY header that ends too early")
        yield kind, data[3 : 3 + size]
        data = data[3 + size :]
