"""Bad WebSocket frames, and the code that each is closed with."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tests.hostile.byte_connection import BINARY, CLOSE, PING, TEXT, close, frame

__all__ = ["FRAMES", "BadFrame"]

PROTOCOL, TEXT_CODE, LARGE = 1002, 1007, 1009
CONTINUATION, PONG = 0, 10
EVENT = b'42["a"]'
OVER = b"4" + b"x" * 1_000_000


@dataclass(frozen=True, slots=True)
class BadFrame:
    """What is sent on a session that has joined `/`; the close code; what it is counted as."""

    name: str
    sent: bytes
    code: int = PROTOCOL
    kind: str = "frame"


FRAMES = [
    *(BadFrame(f"opcode {code}", frame(EVENT, code)) for code in (3, 4, 5, 6, 7)),
    *(BadFrame(f"control opcode {code}", frame(b"", code)) for code in (11, 12, 13, 14, 15)),
    *(BadFrame(f"reserved bits {bits:03b}", frame(EVENT, reserved=bits)) for bits in range(1, 8)),
    BadFrame("a ping with a reserved bit", frame(b"", PING, reserved=4)),
    BadFrame("a frame that is not masked", frame(EVENT, masked=False)),
    BadFrame("a ping that is not masked", frame(b"", PING, masked=False)),
    BadFrame("a close that is not masked", frame(b"\x03\xe8", CLOSE, masked=False)),
    BadFrame("a ping in parts", frame(b"x", PING, final=False)),
    BadFrame("a pong in parts", frame(b"x", PONG, final=False)),
    BadFrame("a close in parts", frame(b"\x03\xe8", CLOSE, final=False)),
    BadFrame("a ping of 126 bytes", frame(b"x" * 126, PING)),
    BadFrame("a pong of 64 KB", frame(b"x" * 2**16, PONG)),
    BadFrame("a close of 126 bytes", close(1000, b"x" * 124)),
    BadFrame("a close of one byte", frame(b"\x03", CLOSE)),
    *(
        BadFrame(f"a close with code {code}", close(code))
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    ),
    BadFrame("a close whose reason is no UTF-8", close(1000, b"\xff\xfe"), TEXT_CODE),
    BadFrame("text that is no UTF-8", frame(b'42["\xff"]'), TEXT_CODE),
    BadFrame("text that ends in half a letter", frame(b'42["\xe2\x82'), TEXT_CODE),
    BadFrame("text of a surrogate", frame(b'42["\xed\xa0\x80"]'), TEXT_CODE),
    BadFrame("text of a NUL written long", frame(b'42["\xc0\x80"]'), TEXT_CODE),
    BadFrame(
        "text in parts that is no UTF-8",
        frame(b'42["\xe2', final=False) + frame(b'x"]', CONTINUATION),
        TEXT_CODE,
    ),
    BadFrame("a continuation of nothing", frame(EVENT, CONTINUATION)),
    BadFrame("a continuation of nothing, in parts", frame(EVENT, CONTINUATION, final=False)),
    BadFrame(
        "a text inside a text", frame(b"42", TEXT, final=False) + frame(EVENT, TEXT)
    ),
    BadFrame(
        "bytes inside a text", frame(b"42", TEXT, final=False) + frame(b"x", BINARY)
    ),
    BadFrame(
        "a text inside an empty text", frame(b"", TEXT, final=False) + frame(EVENT, TEXT)
    ),
    BadFrame("a length that is not the shortest", frame(EVENT, length=b"\x7e\x00\x08")),
    BadFrame("half a text that is no UTF-8", frame(b'42["\xff' + b"x" * 99)[:20], TEXT_CODE),
    BadFrame("a part that is no UTF-8", frame(b'42["\xff', final=False), TEXT_CODE),
    BadFrame(
        "a continuation too many",
        frame(b"431[]", TEXT, final=False) + frame(b"", CONTINUATION) + frame(b"", CONTINUATION),
    ),
    BadFrame("a text over the limit", frame(OVER), LARGE, "too_large"),
    BadFrame("bytes over the limit", frame(OVER, BINARY), LARGE, "too_large"),
    BadFrame(
        "a text in parts over the limit",
        frame(OVER[:600_000], final=False) + frame(OVER[:600_000], CONTINUATION),
        LARGE,
        "too_large",
    ),
    BadFrame(
        "4,000 parts over the limit",
        frame(b"4", final=False) + frame(b"x" * 300, CONTINUATION, final=False) * 4000,
        LARGE,
        "too_large",
    ),
    BadFrame("a length of 63 bits", frame(b"x", length=struct.pack("!BQ", 127, 2**63 - 1)), LARGE,
             "too_large"),
    BadFrame("a length of 4 GB", frame(b"x", length=struct.pack("!BQ", 127, 2**32)), LARGE,
             "too_large"),
    BadFrame("a length of 64 bits", frame(b"x", length=struct.pack("!BQ", 127, 2**64 - 1)), LARGE,
             "too_large"),
    BadFrame("garbage", b"\xff" * 200),
    BadFrame("a request in the middle", b"GET /socket.io/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    BadFrame("a second handshake of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
]  # fmt: skip
