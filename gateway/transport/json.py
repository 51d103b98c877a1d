"""Strict JSON for the wire: what goes out is what every client can read, bytes set aside.

Read: NaN, Infinity and numbers too large for a double are refused. Written: the same, and
`bytes` anywhere become attachments (Socket.IO protocol 5, "Packet encoding").
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from functools import partial

__all__ = ["MAX_DEPTH", "dumps", "loads"]

MAX_DEPTH = 200
"""How deep arrays and objects may nest: below what any of the JSON libraries can write."""

_LONE_SURROGATE = re.compile(
    r"(?<!\\)((?:\\\\)*)"
    r"(?:\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)


def loads(text: str) -> object:
    """Decode `text`; raises `ValueError` when it is not strict JSON or nests too deep."""
    if len(text) > MAX_DEPTH and _may_be_deep(text) and _depth(text) > MAX_DEPTH:
        raise ValueError("nested too deep")
    try:
        return _loads(text)
    except ValueError:
        # JavaScript writes half an emoji, cut from a string, as a lone surrogate.
        mended = _LONE_SURROGATE.sub(r"\1\\ufffd", text)
        if mended == text:
            raise
        return _loads(mended)


def dumps(data: object, attachments: list[bytes]) -> bytes:
    """Encode `data` as UTF-8, appending the bytes in it to `attachments`.

    Raises `TypeError` for what JSON cannot carry, `ValueError` for NaN, infinity and nesting
    that clients could not read.
    """
    text = _dumps(data, partial(_set_aside, attachments))
    # orjson writes NaN as `null`, json as `NaN`: only then is a look at the numbers needed.
    if b"null" in text or b"NaN" in text or b"Infinity" in text:
        _refuse_nan(data)
    return text


def _set_aside(attachments: list[bytes], value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        attachments.append(bytes(value))
        return {"_placeholder": True, "num": len(attachments) - 1}
    raise TypeError(f"a value of type {type(value).__name__} cannot be sent")


def _refuse_nan(data: object) -> None:
    if isinstance(data, float) and not math.isfinite(data):
        raise ValueError(f"{data} cannot be sent: JSON has no such number")
    if isinstance(data, dict):
        data = tuple(data.values())
    if isinstance(data, list | tuple):
        for item in data:
            _refuse_nan(item)


def _may_be_deep(text: str) -> bool:
    return text.count("[") + text.count("{") > MAX_DEPTH


def _depth(text: str) -> int:
    """How deep `text` nests, brackets in strings left out."""
    depth = deepest = 0
    for bracket in re.findall(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', text):
        if bracket in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif bracket in "]}":
            depth -= 1
    return deepest


try:
    import orjson
except ModuleNotFoundError:  # no wheel for this interpreter

    def _refuse_constant(text: str) -> object:
        raise ValueError(f"{text} is not JSON")

    def _finite(text: str) -> float:
        if math.isinf(number := float(text)):
            raise ValueError(f"{text} is out of range")
        return number

    _decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)

    def _loads(text: str) -> object:
        return _decoder.decode(text)

    def _dumps(data: object, default: Callable[[object], object]) -> bytes:
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"), default=default).encode()

else:

    def _loads(text: str) -> object:
        return orjson.loads(text)

    def _dumps(data: object, default: Callable[[object], object]) -> bytes:
        try:
            return orjson.dumps(data, default)
        except TypeError as error:
            # orjson wraps what `default` raised; its own sentence is the one that helps.
            raise TypeError(str(error.__cause__ or error)) from None
