"""Packets that are almost valid: those of a grammar, changed in a place or two."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from tests.socketio.bad_packets import BAD

__all__ = ["packed", "packets"]

MOST = 8
"""Packets of a session."""

LONGEST = 20_000
"""Bytes of a packet that has been changed."""

VALID = [
    b"40/left,",
    b"40/closed,",
    b"40/nothing,",
    b'42["say"]',
    b'42["say","hello",1,null,true,{"a":[1.5e3]}]',
    b'420["say",{"b":"\\u00e9\xc3\xa9"}]',
    b'42999999999999999["say",[]]',
    b'42["ask","?"]',
    b'421["ask","?"]',
    b'42["join"]',
    b'42["nobody","knows"]',
    b'423["nobody","knows"]',
    b'42["fail"]',
    b'424["fail"]',
    b"430[]",
    b"431[]",
    b'431["answer",{}]',
]
"""Packets that a session survives, each once."""

PAIRS = [
    (b'451-["say",{"_placeholder":true,"num":0}]', b"bAA=="),
    (
        b'452-7["say",{"_placeholder":true,"num":1},{"a":{"_placeholder":true,"num":0}}]',
        b"b",
        b"bAAE=",
    ),
    (b'461-1[{"_placeholder":true,"num":0}]', b"bAAECAw=="),
    (b"40/left,", b'42/left,1["say","left"]', b"41/left,", b'42/left,2["say"]', b"43/left,1[1]"),
    (b"41", b"40"),
]
"""Packets that belong together."""

ODD = [b"1", b"3", b"3probe", b"2probe", b"5", b"6", b"40", b"41", b"41/left,", b"bAA", b"b/+8="]
"""Packets out of turn."""

PIECES = [
    *(
        b"",
        b"\x00",
        b"\x1e",
        b'"',
        b"\\",
        b",",
        b"-",
        b"/",
        b"[",
        b"]",
        b"{",
        b"}",
        b":",
        b"0",
        b"4",
    ),
    *(
        b"1e999",
        b"NaN",
        b"-0",
        b"1" * 400,
        b"9" * 16,
        b"null",
        b"true",
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
    ),
    *(b"\\ud800", b"\\u0000", b"\xef\xbb\xbf", b"\xe2\x80\xae", b"\x1b[2J", b"\r\n", b"[" * 300),
    *(
        b'{"_placeholder":true,"num":0}',
        b'{"_placeholder":true,"num":-1}',
        b'"__proto__":1',
        b"451-",
    ),
    *(b"connect", b"disconnecting", b"/left,", b"/closed,", b"?x=1,", b"x" * 5000),
]

FIELDS = ("type", "nsp", "data", "id", "attachments", "x")

VALUES: Sequence[object] = [
    *(
        0,
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        -1,
        2**63,
        1.5,
        None,
        True,
        "",
        "/",
        "/left",
        "/closed",
        "say",
        b"",
        b"x",
    ),
    *(["say"], ["say", b"bytes", {"a": []}], ["ask", 1], ["fail"], ["nobody"], [], {}, {"a": 1}),
    *([[[[[]]]]], msgspec.msgpack.Ext(0, b"\0"), msgspec.msgpack.Ext(0, b"8 bytes!")),
    *(msgspec.msgpack.Ext(5, b"x"), "x" * 5000, ["connect"], [1], ["say", 1e308]),
]


def packets(rng: random.Random) -> list[bytes]:
    """Some packets as a body has them; about every second time, one is changed."""
    found = []
    for _ in range(rng.randint(1, MOST)):
        found += rng.choice(PAIRS) if rng.random() < 0.3 else [rng.choice(VALID)]
    if rng.random() < 0.5:
        at = rng.randrange(len(found))
        found[at] = _changed(rng, found[at]) if rng.random() < 0.7 else _odd(rng)
    return found


def packed(rng: random.Random) -> list[bytes]:
    """Some packets in MessagePack; about every second time, one is changed."""
    found = []
    for _ in range(rng.randint(1, MOST)):
        number = rng.randrange(100)
        data = ["say", rng.choice(VALUES), {"a": b"bytes"}]
        found.append(msgspec.msgpack.encode({"type": 2, "nsp": "/", "data": data, "id": number}))
    if rng.random() < 0.5:
        at = rng.randrange(len(found))
        found[at] = _changed(rng, found[at]) if rng.random() < 0.6 else _other(rng)
    return found


def _odd(rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return rng.choice(ODD)
    bad = rng.choice(rng.choice(BAD))
    return b"4" + bad.encode(errors="replace") if isinstance(bad, str) else b"bAA=="


def _other(rng: random.Random) -> bytes:
    fields: dict[str, object] = {"type": 2, "nsp": "/", "data": ["say"]}
    for _ in range(rng.randint(1, 3)):
        fields[rng.choice(FIELDS)] = rng.choice(VALUES)
    return msgspec.msgpack.encode(fields)


def _changed(rng: random.Random, packet: bytes) -> bytes:
    changed = bytearray(packet)
    for _ in range(rng.randint(1, 3)):
        at, size = rng.randint(0, len(changed)), rng.choice([0, 0, 1, 2, 8])
        changed[at : at + size] = _piece(rng, changed)
    return bytes(changed[:LONGEST])


def _piece(rng: random.Random, packet: bytes) -> bytes:
    pick = rng.random()
    if pick < 0.6:
        return rng.choice(PIECES)
    if pick < 0.8:
        return rng.randbytes(rng.randint(1, 4))
    at = rng.randint(0, len(packet))  # twice, or from elsewhere
    return (packet if rng.random() < 0.5 else rng.choice(VALID))[at : at + 20]
