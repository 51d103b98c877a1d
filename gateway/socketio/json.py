"""Strict JSON that every client can read; bytes become attachments.

Reading and writing refuse NaN, Infinity and numbers that are too large for a double. Writing turns
`bytes` anywhere into attachments (Socket.IO protocol 5, "Packet encoding").
"""

from __future__ import annotations

import gc
import math
import re
from functools import partial
from typing import TypeAlias

import orjson

__all__ = ["MAX_DEPTH", "WRITTEN_DEPTH", "check", "dumps", "is_deep", "loads"]

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


def loads(text: str) -> object:
    """Decode `text`. Raises `ValueError` if it is not strict JSON or nests too deep."""
    if len(text) >= LARGE and gc.isenabled():
        gc.disable()
        try:
            return loads(text)
        finally:
            gc.enable()
    try:
        data: object = orjson.loads(text)
    except ValueError:
        if (mended := _mended(text)) == text:
            raise
        data = orjson.loads(mended)
    if len(text) > MAX_DEPTH and text.count("[") + text.count("{") > MAX_DEPTH and is_deep(data):
        raise ValueError("nested too deep")
    return data


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


def _blank(value: object) -> None:
    """Stand for bytes, which MessagePack carries and JSON does not."""


def _mended(text: str) -> str:
    """`text` without lone surrogates, which JavaScript writes for half an emoji."""
    if "\\u" not in text or "\0" in text:  # JSON has no NUL, which marks pairs of backslashes here
        return text
    return _LONE_SURROGATE.sub(r"\\ufffd", text.replace(r"\\", "\0")).replace("\0", r"\\")
