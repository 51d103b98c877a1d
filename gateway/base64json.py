"""JSON with bytes in it, as HTTP carries it: `{"$base64": "3q0="}` stands for them.

An object of our own that looks like that, its only key `$base64`, is written with one `$` more:
`{"$$base64": ...}`, and so on for that. Reading takes the `$` away again.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import Any, cast

import orjson

from gateway.api import Value

__all__ = ["dumps", "loads"]

_KEY = "$base64"
_KEYS = re.compile(r"\$+base64")
_ESCAPED = re.compile(r"\$\$+base64")

DEEPEST = 200
"""The deepest nesting that is read or written where bytes, or what looks like them, are in it."""


def dumps(data: object) -> bytes:
    """Encode data in UTF-8.

    Raises `TypeError` for types that JSON lacks, and `ValueError` for bytes that nest too deep.
    """
    found: list[None] = []

    def encoded(value: object) -> object:
        found.append(None)
        return _encoded(value)

    try:
        text = orjson.dumps(data, encoded)
    except TypeError as error:
        # orjson wraps the error that `_encoded` raised, whose text is the helpful one.
        raise TypeError(str(error.__cause__ or error)) from None
    if text.count(b'base64":') == len(found):
        return text
    return orjson.dumps(_escaped(data, DEEPEST), _encoded)


def loads(text: bytes | str, *, is_bounded: bool = False) -> Value:
    """Decode JSON. Raises `ValueError` if it is not JSON, or nests too deep.

    With `is_bounded`, the nesting of JSON without bytes in it is bounded, too.
    """
    data = orjson.loads(text)
    written = text if isinstance(text, bytes) else text.encode()
    may_be_deep = is_bounded and written.count(b"[") + written.count(b"{") > DEEPEST
    if may_be_deep or b"base64" in written or b"\\u" in written:
        data = _restored(data, DEEPEST)
    return cast("Value", data)


def _encoded(value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return {_KEY: b64encode(value).decode()}
    raise TypeError(f"a value of type {type(value).__name__} cannot be sent")


def _escaped(data: object, levels: int) -> object:
    """`data` with one `$` more in each object that looks like bytes."""
    if isinstance(data, dict | list | tuple):
        _check(levels)
        if not isinstance(data, dict):
            return [_escaped(each, levels - 1) for each in data]
        if (key := _only_key(data)) and _KEYS.fullmatch(key):
            return {"$" + key: _escaped(data[key], levels - 1)}
        return {key: _escaped(each, levels - 1) for key, each in data.items()}
    return data


def _restored(data: object, levels: int) -> object:
    """`data` with the bytes that are meant."""
    if isinstance(data, list):
        _check(levels)
        return [_restored(each, levels - 1) for each in data]
    if not isinstance(data, dict):
        return data
    _check(levels)
    key = _only_key(data)
    if key == _KEY:
        return _decoded(data[key])
    if key and _ESCAPED.fullmatch(key):
        return {key[1:]: _restored(data[key], levels - 1)}
    return {key: _restored(each, levels - 1) for key, each in data.items()}


def _only_key(data: dict[Any, object]) -> str:
    """The key of an object that has one; "" for others."""
    key = next(iter(data)) if len(data) == 1 else ""
    return key if isinstance(key, str) else ""


def _decoded(value: object) -> bytes:
    if isinstance(value, str):
        try:
            return b64decode(value, validate=True)
        except ValueError:
            pass
    raise ValueError(f"the value of {_KEY} is not text in Base64")


def _check(levels: int) -> None:
    if not levels:
        raise ValueError("nested too deep")
