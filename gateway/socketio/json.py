"""Strict JSON that every client can read; bytes become attachments.

Reading and writing refuse NaN, Infinity and numbers that are too large for a double. Writing turns
`bytes` anywhere into attachments (Socket.IO protocol 5, "Packet encoding").
"""

from __future__ import annotations

import gc
import json as stdlib
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias

import orjson

__all__ = [
    "LARGE",
    "MAX_DEPTH",
    "MAX_NESTED",
    "WRITTEN_DEPTH",
    "check",
    "dumps",
    "is_deep",
    "is_plain",
    "loads",
    "without_collections",
]

MAX_DEPTH = 200
"""The deepest nesting of arrays and objects that is read, so that it can be written again."""

WRITTEN_DEPTH = 254
"""The deepest nesting that is written: orjson's own limit."""

_Nesting: TypeAlias = dict[object, object] | list[object] | tuple[object, ...]
_NESTING = (dict, list, tuple)

_LONE_SURROGATE = re.compile(
    r"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F][0-9a-fA-F]{2})"
)

LARGE = 2**16
"""Length from which a text is read without collecting garbage meanwhile, in characters.

Every 1,000 arrays or objects would start a collection that finds nothing: half the time it takes.
"""

MAX_NESTED = 100_000
"""The most arrays and objects in a text. More than these stop everybody else for 50 ms: they have
to be made, walked by the garbage collector, and freed."""

# The last quote may be missing, or each quote of such a text would be looked through to its end.
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)


def loads(text: str) -> object:
    """Decode `text`.

    Raises `ValueError` if it is not strict JSON, nests too deep or has too many arrays and objects.
    """
    if len(text) >= LARGE and gc.isenabled():
        if _nested(text) > MAX_NESTED and _nested(_STRINGS.sub("", text)) > MAX_NESTED:
            raise ValueError("too many arrays and objects")
        with without_collections():
            return loads(text)
    try:
        data: object = orjson.loads(text)
    except ValueError:
        if (mended := _mended(text)) == text:
            raise
        data = orjson.loads(mended)
    if len(text) > MAX_DEPTH and _nested(text) > MAX_DEPTH and is_deep(data):
        raise ValueError("nested too deep")
    return data


@contextmanager
def without_collections() -> Iterator[None]:
    """Collect no garbage meanwhile; see `LARGE`."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _nested(text: str) -> int:
    """The arrays and objects in a text, counting brackets in strings too."""
    return text.count("[") + text.count("{")


def dumps(data: object, attachments: list[bytes]) -> bytes:
    """Encode `data` in UTF-8, and append the bytes in it to `attachments`.

    Raises `TypeError` for types that JSON lacks, `ValueError` for values that clients cannot read.
    """
    try:
        text = orjson.dumps(data)
    except TypeError:  # data may contain bytes; most does not, and should not pay for them
        text = _dumps_with_bytes(data, attachments)
    if b"null" in text:  # orjson writes NaN as null
        check(data)
    return text


def check(data: object, levels: int = WRITTEN_DEPTH) -> None:
    """Raise `ValueError` or `TypeError` for data that clients cannot read in any encoding.

    That is NaN, infinity, integers beyond 64 bits, keys that are not text, and data that nests
    deeper than `levels`.
    """
    if isinstance(data, float):
        if not math.isfinite(data):
            raise ValueError(f"{data} cannot be sent: JSON has no such number")
    elif isinstance(data, int):
        if not -(2**63) <= data < 2**64:
            raise ValueError("an integer beyond 64 bits cannot be sent: send it as text")
    elif isinstance(data, _NESTING):
        if not levels:
            raise ValueError("data that nests too deep, or contains itself, cannot be sent")
        if isinstance(data, dict):
            for key in data:
                if not isinstance(key, str):
                    raise TypeError(f"a key of type {type(key).__name__} cannot be sent: use text")
            data = data.values()
        for item in data:
            check(item, levels - 1)


def _dumps_with_bytes(data: object, attachments: list[bytes]) -> bytes:
    try:
        return orjson.dumps(data, partial(_set_aside, attachments))
    except TypeError as error:
        check(data)
        # orjson wraps the error that `_set_aside` raised, whose text is the helpful one.
        raise TypeError(str(error.__cause__ or error)) from None


def _set_aside(attachments: list[bytes], value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        attachments.append(bytes(value))
        return {"_placeholder": True, "num": len(attachments) - 1}
    raise TypeError(f"a value of type {type(value).__name__} cannot be sent")


def is_deep(data: object, levels: int = MAX_DEPTH) -> bool:
    """True if `data`, which a client has sent, nests deeper than `levels`.

    orjson finds that out, because a walk in Python takes many times longer.
    """
    for _ in range(WRITTEN_DEPTH - levels):
        data = [data]
    try:
        orjson.dumps(data, _blank, orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return True
    return False


def is_plain(data: object, levels: int, *, is_finite: bool) -> bool:
    """True if `data` is JSON, with bytes anywhere in it, that `check` lets pass.

    `is_finite` is true if it is known to be without NaN and infinity.

    It is much faster, but does not say what is wrong, and false is not the last word: `data` may
    have values of other types that can be sent.
    """
    for _ in range(WRITTEN_DEPTH - levels):
        data = [data]
    try:
        text = orjson.dumps(data, _blank, _PLAIN)
        if not is_finite and b"null" in text:  # orjson writes NaN as null
            _finite(data)
    except (TypeError, ValueError):
        return False
    return True


def _blank(value: object) -> int:
    """Stand for bytes, which MessagePack carries and JSON does not."""
    if type(value) is not bytes:
        raise TypeError
    return 0


_PLAIN = (
    orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)
_finite = stdlib.JSONEncoder(allow_nan=False, check_circular=False, default=_blank).encode
"""Raises `ValueError` for NaN and infinity."""


def _mended(text: str) -> str:
    """`text` without lone surrogates, which JavaScript writes for half an emoji."""
    if "\\u" not in text or "\0" in text:  # JSON has no NUL, which marks pairs of backslashes here
        return text
    return _LONE_SURROGATE.sub(r"\\ufffd", text.replace(r"\\", "\0")).replace("\0", r"\\")
