"""Writes PROXY headers, as a proxy does."""

from __future__ import annotations

import struct
from ipaddress import ip_address

__all__ = ["LOCAL", "SIGNATURE", "header", "tls_field"]

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
"""The header of a health check."""


def header(address: str, fields: bytes = b"") -> bytes:
    """The header of a connection for a client; `fields` follow the addresses."""
    source = ip_address(address).packed
    family = 0x11 if len(source) == 4 else 0x21
    rest = source + bytes(len(source)) + struct.pack(">HH", 4711, 443) + fields
    return SIGNATURE + struct.pack(">BBH", 0x21, family, len(rest)) + rest


def tls_field(flags: int) -> bytes:
    """The field that tells of TLS, with a version in a field of its own."""
    value = struct.pack(">BL", flags, 0) + struct.pack(">BH", 0x21, 7) + b"TLSv1.3"
    return struct.pack(">BH", 0x20, len(value)) + value
