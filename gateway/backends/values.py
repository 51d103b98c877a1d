"""JSON with bytes: `{"$base64": "..."}` stands for bytes, wherever they are.

An object that really has this one key is written with `$$base64`, one with that key with
`$$$base64`, and so on.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping

import orjson

__all__ = ["dumps", "loads", "sendable"]

BYTES = "$base64"
_MARK = re.compile(r"\$+base64")
_MARKED = b'$base64"'  # in the text of all that has to be escaped, and of all bytes

DEEPEST = 200
"""Levels of arrays and objects in an answer; clients cannot be sent more than 254."""


def dumps(value: object) -> bytes:
    """Encode a value. Raises `TypeError` or `ValueError` for what JSON lacks."""
    try:
        text = orjson.dumps(value)
    except TypeError:  # it has bytes, or what only orjson refuses: integers beyond 64 bits
        return json.dumps(_written(value), allow_nan=False, separators=(",", ":")).encode()
    return orjson.dumps(_written(value)) if _MARKED in text else text


def loads(data: bytes) -> object:
    """Decode what a backend has sent. Raises `ValueError` if it is not JSON or nests too deep."""
    value: object = orjson.loads(data)
    if data.count(b"[") + data.count(b"{") > DEEPEST and _is_deep(value, DEEPEST):
        raise ValueError("nested too deep")
    return _read(value) if _MARKED in data else value


def sendable(data: Mapping[str, object]) -> dict[str, object]:
    """Return the entries that JSON has a form for; plugins keep other things in `data`, too."""
    kept = {}
    for key, value in data.items():
        try:
            dumps({key: value})
        except (TypeError, ValueError, RecursionError):
            continue
        kept[key] = value
    return kept


def _written(value: object) -> object:
    if isinstance(value, dict):
        [*keys] = value
        if len(keys) == 1 and isinstance(keys[0], str) and _MARK.fullmatch(keys[0]):
            return {f"${keys[0]}": _written(value[keys[0]])}
        return {key: _written(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_written(each) for each in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return {BYTES: b64encode(value).decode()}
    return value


def _read(value: object) -> object:
    if isinstance(value, list):
        return [_read(each) for each in value]
    if not isinstance(value, dict):
        return value
    [*keys] = value
    if len(keys) == 1 and _MARK.fullmatch(keys[0]):
        inner = value[keys[0]]
        if keys[0] != BYTES:
            return {keys[0][1:]: _read(inner)}
        if not isinstance(inner, str):
            raise ValueError("$base64 takes text in base64")
        return b64decode(inner, validate=True)
    return {key: _read(each) for key, each in value.items()}


def _is_deep(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return not levels or any(_is_deep(each, levels - 1) for each in inner)
