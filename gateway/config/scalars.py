"""What unquoted text means: YAML 1.2's core schema, so that nothing turns into what nobody meant.

`yes`, `on`, `12:30`, `2024-01-31` and `1_000` are text, as they are in YAML 1.2; PyYAML by itself
would read them as YAML 1.1 does. (YAML 1.2.2, section 10.3.2.)
"""

from __future__ import annotations

import math
import re
from typing import TypeAlias

__all__ = ["Plain", "typed"]

Plain: TypeAlias = str | int | float | bool | None
"""A value that is neither a mapping nor a list."""

_WORDS: dict[str, Plain] = {
    **dict.fromkeys(("null", "Null", "NULL", "~"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}

# Bounded, because Python refuses to print or to read an int of more than 4300 digits.
_INTEGER = re.compile(r"[-+]?[0-9]{1,99}", re.ASCII)
_OCTAL = re.compile(r"0o[0-7]{1,99}")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,99}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_INFINITY = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def typed(text: str) -> Plain:
    """Read unquoted text as null, a boolean, a number or, failing those, text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
        return int(text, base=0)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):  # a hash such as 12e5678 is text
        return float(text)
    if _INFINITY.fullmatch(text):
        return float(text.replace(".", ""))
    return text
