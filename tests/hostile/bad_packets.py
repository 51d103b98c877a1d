"""Engine.IO packets that no client may send, on either transport, and what is due for each.

For those of Socket.IO see `tests/socketio/bad_packets.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.raw_client import Packet

__all__ = ["ENGINE", "PAYLOADS", "PROBES", "BadPackets"]


@dataclass(frozen=True, slots=True)
class BadPackets:
    """What is sent after `/` was joined; what it is counted as, and why the session ends.

    No `reason` stands for a session that lives on.
    """

    name: str
    sent: tuple[Packet, ...]
    kind: str | None = "engine_packet"
    reason: str | None = "parse error"


ENGINE = [
    *(BadPackets(f"type {kind!r}", (f'{kind}["a"]',)) for kind in "789xyZ -+.\x00\x7fé\uff14"),
    BadPackets("the empty packet", ("",)),
    BadPackets("open, which is the server's", ("0",)),
    BadPackets("open, with a session", ('0{"sid":"x","upgrades":[],"pingInterval":1}',)),
    BadPackets("ping, which is the server's", ("2",)),
    BadPackets("a probe where no upgrade is", ("2probe",)),
    BadPackets("upgrade out of turn", ("5",)),
    BadPackets("noop, which is the server's", ("6",)),
    BadPackets("a packet in a packet", ("\x004" + '2["a"]',)),
    BadPackets("pong without a ping", ("3",)),
    BadPackets("many pongs", ("3",) * 1000),
    BadPackets("pong that says something", ("3probe",)),
    BadPackets("an event behind close", ("1", '42["a"]'), None, "transport close"),
    BadPackets("an event behind a bad packet", ("9", '42["a"]')),
    BadPackets("bytes that belong to no packet", (b"\x00\x01",), "packet"),
    BadPackets("no bytes, that belong to no packet", (b"",), "packet"),
    BadPackets("an empty message", ("4",), "packet"),
    BadPackets("a message of NULs", ("4" + "\x00" * 1000,), "packet"),
    BadPackets("a megabyte of nonsense", ("4" + "x" * 990_000,), "packet"),
    BadPackets("a megabyte of brackets", ("42" + "[" * 990_000,), "packet"),
    BadPackets("a megabyte of a number", ('42["a",' + "1" * 990_000 + "]",), "packet"),
    BadPackets("a namespace of a megabyte", ("42/" + "n" * 990_000 + ',["a"]',), "packet"),
    BadPackets("an id of a megabyte", ("42" + "1" * 990_000 + '["a"]',), "packet"),
    BadPackets("a count of a megabyte", ("45" + "1" * 990_000 + '-["a"]',), "packet"),
    BadPackets("an ack for nothing", ("431[]",), None, None),
    BadPackets("an ack for nothing, with the largest id", (f"43{'9' * 15}[]",), None, None),
    BadPackets("an ack for python-socketio's own counter", ("430[]",), None, None),
    BadPackets("1000 acks for nothing", tuple(f"43{n}[1]" for n in range(1000)), None, None),
    BadPackets("bytes that were never announced, in an ack", ("431[]", b"x"), "packet"),
]

PAYLOADS: list[tuple[str, bytes, str]] = [
    ("a body without a packet", b"", "engine_packet"),
    ("separators and nothing else", b"\x1e\x1e\x1e", "engine_packet"),
    ("a separator too many", b"3\x1e", "engine_packet"),
    ("100,000 empty packets", b"\x1e" * 100_000, "engine_packet"),
    ("the payload of Engine.IO 3", b'9:42["a"]', "engine_packet"),
    ("bytes as Engine.IO 3 had them", b"\x00\x09\xff4" + b'2["a"]', "engine_packet"),
    ("no base64", b"b!!!!", "engine_packet"),
    ("base64 without its padding, of bytes that belong to no packet", b"bAAA", "packet"),
    ("base64 with padding inside", b"bAA==AA==", "engine_packet"),
    ("base64 with a line's end, of bytes that belong to no packet", b"bAAAA\r\n", "packet"),
    ("base64 with a space", b"bAA AA", "engine_packet"),
    ("base64 with a digit too many", b"bAAAAA", "engine_packet"),
    ("base64 of a browser's address bar", b"b-_-_", "engine_packet"),
    ("base64 in another alphabet", "bÀÀÀÀ".encode(), "engine_packet"),
    ("base64 of nothing", b"b", "packet"),
    ("a body in UTF-16", '42["a"]'.encode("utf-16"), "engine_packet"),
    ("a body that begins with a mark", b'\xef\xbb\xbf42["a"]', "engine_packet"),
    ("a form", b"d=42%5B%22a%22%5D", "engine_packet"),
]
"""Bodies of a POST request."""

PROBES: list[tuple[str, Packet]] = [
    ("upgrade without a probe", "5"),
    ("a ping that is no probe", "2"),
    ("a probe that says more", "2probes"),
    ("a pong", "3probe"),
    ("an event", '42["a","smuggled"]'),
    ("bytes", b"x"),
    ("nothing", ""),
    ("close", "1"),
]
"""The first packet on a WebSocket that is to upgrade a session."""
