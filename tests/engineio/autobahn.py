"""The cases of the Autobahn test suite, by their numbers: what is sent and what must come back.

https://github.com/crossbario/autobahn-testsuite, in its strict reading. Texts begin with a 4, for a
message of Engine.IO. Cases that only measure time are left out, large ones are scaled down.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.hostile.byte_connection import BINARY, CLOSE, PING, TEXT, close, frame

__all__ = ["CASES", "Case"]

CONTINUATION, PONG = 0, 10
NORMAL, PROTOCOL, INVALID = 1000, 1002, 1007


@dataclass(frozen=True, slots=True)
class Case:
    """What is sent, in `chops` of so many bytes (0: at once), and what must come back.

    `answers` are opcodes and payloads before the close frame with `code`. If that is 1000, the
    client closes after the answers; otherwise nothing more is sent, so the failure must be at once.
    """

    number: str
    sent: bytes
    answers: tuple[tuple[int, bytes], ...] = ()
    code: int = PROTOCOL
    chops: int = 0


def echo(number: str, payload: bytes, opcode: int = TEXT, chops: int = 0, parts: int = 0) -> Case:
    """A message that is echoed, sent in `parts` of so many bytes (0: in one frame)."""
    sent = fragments(payload, parts, opcode) if parts else frame(payload, opcode)
    return Case(number, sent, ((opcode, payload),), NORMAL, chops)


def fragments(payload: bytes, size: int, opcode: int = TEXT) -> bytes:
    """A message in frames of so many bytes."""
    starts = range(0, len(payload), size)
    return b"".join(
        frame(
            payload[at : at + size],
            CONTINUATION if at else opcode,
            final=at + size >= len(payload),
        )
        for at in starts
    )


HELLO = b"4Hello, world!"
HEARD = ((TEXT, HELLO),)
ONE, TWO = b"4fragment1", b"fragment2"
BOTH = ((TEXT, ONE + TWO),)
SIZES = (0, 125, 126, 127, 128, 65_535, 65_536)


def framing() -> Iterator[Case]:
    """1: lengths."""
    for number, size in enumerate(SIZES, 1):
        yield echo(f"1.1.{number}", b"4" + b"*" * max(0, size - 1))
        yield echo(f"1.2.{number}", b"\xfe" * size, BINARY)
    yield echo("1.1.8", b"4" + b"*" * 65_535, chops=997)
    yield echo("1.2.8", b"\xfe" * 65_536, BINARY, chops=997)


def pings() -> Iterator[Case]:
    """2: pings and pongs."""
    payloads = (b"", HELLO, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * 125)
    for number, payload in enumerate(payloads, 1):
        yield Case(f"2.{number}", frame(payload, PING), ((PONG, payload),), NORMAL)
    yield Case("2.5", frame(b"\xfe" * 126, PING))
    yield Case("2.6", frame(b"\xfe" * 125, PING), ((PONG, b"\xfe" * 125),), NORMAL, chops=1)
    yield Case("2.7", frame(b"", PONG), (), NORMAL)
    yield Case("2.8", frame(b"unsolicited", PONG), (), NORMAL)
    yield Case("2.9", frame(b"x", PONG) + frame(b"ping", PING), ((PONG, b"ping"),), NORMAL)
    ten = [b"payload-%d" % number for number in range(10)]
    sent, answers = b"".join(frame(each, PING) for each in ten), tuple((PONG, p) for p in ten)
    yield Case("2.10", sent, answers, NORMAL)
    yield Case("2.11", sent, answers, NORMAL, chops=1)


def reserved() -> Iterator[Case]:
    """3 and 4: reserved bits and opcodes."""
    for bits in range(1, 8):
        bad = frame(HELLO, reserved=bits)
        sent, answers = (frame(HELLO) + bad, HEARD) if bits in {2, 3, 4} else (bad, ())
        yield Case(f"3.{bits}", sent, answers, chops=1 if bits == 4 else 0)
    yield Case("3.5b", frame(b"\xff" * 8, BINARY, reserved=5))
    yield Case("3.6b", frame(b"", PING, reserved=6))
    yield Case("3.7b", frame(b"", CLOSE, reserved=7))
    for number in range(5):
        payload = HELLO if number % 2 else b""
        for section, first in ((1, 3), (2, 11)):
            bad = frame(payload, first + number)
            sent, answers = (frame(HELLO) + bad, HEARD) if number > 1 else (bad, ())
            chops = 1 if number > 2 else 0
            yield Case(f"4.{section}.{number + 1}", sent + frame(b"", PING), answers, chops=chops)


def fragmentation() -> Iterator[Case]:
    """5: messages in parts."""
    part, last = frame(ONE, final=False), frame(TWO, CONTINUATION)
    middle = frame(TWO, CONTINUATION, final=False)
    ping, pong = frame(b"ping", PING), ((PONG, b"ping"),)
    yield Case("5.1", frame(b"x", PING, final=False) + last)
    yield Case("5.2", frame(b"x", PONG, final=False) + last)
    for number, chops in ((3, 0), (4, 0), (5, 1)):
        yield Case(f"5.{number}", part + last, BOTH, NORMAL, chops)
    for number, chops in ((6, 0), (7, 0), (8, 1)):
        yield Case(f"5.{number}", part + ping + last, pong + BOTH, NORMAL, chops)
    for number, final, chops in (
        (9, True, 0), (10, True, 0), (11, True, 1), (12, False, 0), (13, False, 0), (14, False, 1),
    ):  # fmt: skip
        bad = frame(b"non-continuation", CONTINUATION, final=final)
        yield Case(f"5.{number}", bad + frame(HELLO), chops=chops)
    yield Case("5.15", part + last + middle + frame(HELLO), BOTH)
    yield Case("5.16", (middle + frame(HELLO) + last) * 2)
    yield Case("5.17", (last + frame(HELLO) + last) * 2)
    yield Case("5.18", part + frame(TWO))
    for number, chops in ((19, 0), (20, 1)):
        sent = part + middle + ping + middle + middle + ping + last
        yield Case(f"5.{number}", sent, (*pong, *pong, (TEXT, ONE + TWO * 4)), NORMAL, chops)


GREEK = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"
MIXED = "4Hello-µ@ßöäüàá-UTF-8!!".encode()
BAD = b"4" + GREEK + b"\xf4\x90\x80\x80edited"
"""Its 14th byte is the first wrong one."""


def utf8() -> Iterator[Case]:
    """6.1 to 6.4: text in parts, and text that fails before it is whole."""
    yield echo("6.1.1", b"4")
    yield Case("6.1.2", frame(b"4", final=False) + frame(b"", 0, final=False) + frame(b"", 0),
               ((TEXT, b"4"),), NORMAL)  # fmt: skip
    yield Case("6.1.3", frame(b"", final=False) + frame(b"4mid", 0, final=False) + frame(b"", 0),
               ((TEXT, b"4mid"),), NORMAL)  # fmt: skip
    yield echo("6.2.1", MIXED)
    yield Case("6.2.2", frame(MIXED[:13], final=False) + frame(MIXED[13:], 0),
               ((TEXT, MIXED),), NORMAL)  # fmt: skip
    yield echo("6.2.3", MIXED, parts=1)
    yield echo("6.2.4", b"4" + GREEK, parts=1)
    yield Case("6.3.1", frame(BAD), (), INVALID)
    yield Case("6.3.2", fragments(BAD, 1), (), INVALID)
    yield Case(
        "6.4.1", frame(BAD[:12], final=False) + frame(BAD[12:16], 0, final=False), (), INVALID
    )
    yield Case(
        "6.4.2", frame(BAD[:13], final=False) + frame(BAD[13:14], 0, final=False), (), INVALID
    )
    yield Case("6.4.3", frame(BAD)[: 6 + 16], (), INVALID, chops=18)
    yield Case("6.4.4", frame(BAD)[: 6 + 14], (), INVALID, chops=19)


VALID_UTF8 = {
    5: [b"hello$world", b"hello\xc2\xa2world", b"hello\xe2\x82\xacworld",
        b"hello\xf0\xa4\xad\xa2world", GREEK],
    6: [GREEK[:size] for size in (2, 5, 7, 9, 11)],
    7: [b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"],
    9: [b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"],
    11: [b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd", b"\xf4\x8f\xbf\xbf"],
    22: [chr(plane << 16 | low).encode() for plane in range(17) for low in (0xFFFE, 0xFFFF)],
    23: [b"\xef\xbf" + bytes([last]) for last in range(0xB9, 0xC0)],
}  # fmt: skip

LONELY = [
    b"".join(bytes([first]) + b" " for first in range(*ends))
    for ends in ((0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD))
]
CUT = [
    b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xf8\x80\x80\x80", b"\xfc\x80\x80\x80\x80",
    b"\xdf", b"\xef\xbf", b"\xf7\xbf\xbf", b"\xfb\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf",
]  # fmt: skip
HIGH, LOW = (b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xae\x80", b"\xed\xaf\xbf"), (
    b"\xed\xb0\x80", b"\xed\xbe\x80", b"\xed\xbf\xbf",
)  # fmt: skip

INVALID_UTF8 = {
    6: [GREEK[:size] for size in (1, 3, 4, 6, 8, 10)],
    8: [b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"],
    10: [b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"],
    11: [b"\xf4\x90\x80\x80"],
    12: [b"\x80", b"\xbf", *((b"\x80\xbf" * 3)[:size] for size in range(2, 7)),
         bytes(range(0x80, 0xBF))],
    13: LONELY,
    14: CUT,
    15: [b"".join(CUT)],
    16: [b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"],
    17: [b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf",
         b"\xfc\x80\x80\x80\x80\xaf"],
    18: [b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xf8\x87\xbf\xbf\xbf",
         b"\xfc\x83\xbf\xbf\xbf\xbf"],
    19: [b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf8\x80\x80\x80\x80",
         b"\xfc\x80\x80\x80\x80\x80"],
    20: [*HIGH, *LOW],
    21: [high + low for high in HIGH for low in (LOW[0], LOW[2])],
}  # fmt: skip


def sequences() -> Iterator[Case]:
    """6.5 to 6.23: sequences of bytes that are UTF-8, and others that are not."""
    for section, payloads in VALID_UTF8.items():
        for number, payload in enumerate(payloads, 1):
            yield echo(f"6.{section}.{number}", b"4" + payload)
    for section, payloads in INVALID_UTF8.items():
        for number, payload in enumerate(payloads, 1):
            yield Case(f"6.{section}.{number}-bad", frame(b"4" + payload), (), INVALID)


def closing() -> Iterator[Case]:
    """7: the closing handshake. What comes behind a close frame is not heard."""
    end = close(NORMAL)
    large = b"4" + b"BAsd7&jh23" * 26_214
    yield Case("7.1.1", frame(HELLO) + end, HEARD, NORMAL)
    yield Case("7.1.2", end + frame(b"", CLOSE), (), NORMAL)
    yield Case("7.1.3", end + frame(b"", PING), (), NORMAL)
    yield Case("7.1.4", end + frame(HELLO), (), NORMAL)
    yield Case("7.1.5", frame(ONE, final=False) + end + frame(TWO, 0), (), NORMAL)
    yield Case("7.1.6", frame(large) + frame(HELLO) + end + frame(b"", PING),
               ((TEXT, large), *HEARD), NORMAL)  # fmt: skip
    yield Case("7.3.1", close(), (), NORMAL)
    yield Case("7.3.2", frame(b"a", CLOSE))
    yield Case("7.3.3", end, (), NORMAL)
    yield Case("7.3.4", close(NORMAL, b"Hello World!"), (), NORMAL)
    yield Case("7.3.5", close(NORMAL, b"*" * 123), (), NORMAL)
    yield Case("7.3.6", close(NORMAL, b"*" * 124))
    yield Case("7.5.1", close(NORMAL, GREEK + b"\xed\xa0\x80edited"), (), INVALID)
    good = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
    for number, code in enumerate(good, 1):
        yield Case(f"7.7.{number}", close(code), (), NORMAL)
    bad = (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999)
    for number, code in enumerate(bad, 1):
        yield Case(f"7.9.{number}", close(code))
    yield Case("7.13.1", close(5000))
    yield Case("7.13.2", close(65_535))


def large() -> Iterator[Case]:
    """9 and 10: large messages, in one frame, in parts and in chops; many small ones."""
    for section, opcode, first in ((1, TEXT, b"4*"), (2, BINARY, b"\x00\xfe")):
        for number, size in enumerate((65_536, 262_144, 999_999), 1):
            payload = first[:1] + first[1:] * (size - 1)
            yield echo(f"9.{section}.{number}", payload, opcode)
        payload = first[:1] + first[1:] * 262_143
        for number, size in enumerate((64, 256, 1024, 4096, 16_384, 65_536, 262_144), 1):
            yield echo(f"9.{section + 2}.{number}", payload, opcode, parts=size)
        for number, size in enumerate((64, 128, 256, 512, 1024, 2048), 1):
            payload = first[:1] + first[1:] * (size * 100)
            yield echo(f"9.{section + 4}.{number}", payload, opcode, chops=size)
        for number, size in enumerate((0, 16, 64, 256, 1024, 4096), 1):
            payload = first[:1] + first[1:] * size
            sent, answers = frame(payload, opcode) * 400, ((opcode, payload),) * 400
            yield Case(f"9.{section + 6}.{number}", sent, answers, NORMAL)
    yield echo("10.1.1", b"4" + b"*" * 65_535, parts=1300)


CASES = [
    *framing(), *pings(), *reserved(), *fragmentation(), *utf8(), *sequences(), *closing(), *large()
]  # fmt: skip
