"""Redaction: what has the name of a secret is not shown, wherever values are.

It stands before everything that shows data of clients and of plugins: the log, the status, and
what is told of requests to other services. Secrets of the configuration are known by their values
too, see `gateway.config.secrets`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["HIDDEN", "is_secret_name", "redacted"]

HIDDEN = "***"
"""The text shown instead of a secret."""

DEEPEST = 32
"""Levels of arrays and objects; what is deeper is not shown."""

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NAMES = re.compile(
    r"(?:.*[._\s-])?(?:tokens?|secrets?|passwords?|passwd|passphrases?|pwd|jwt"
    r"|authorization|(?:set-)?cookies?|credentials?|[^._\s-]+[._\s-]keys?|apikeys?)",
    re.IGNORECASE,
)
"""`key` alone is the name of many things, `api_key` and `private-key` are those of secrets."""


def is_secret_name(name: str) -> bool:
    """Tell whether a key, a header or a field with this name has a secret as its value."""
    return _NAMES.fullmatch(_CAMEL.sub("_", name)) is not None


def redacted(value: object, levels: int = DEEPEST) -> object:
    """`value`, or a copy without the values of secrets if it is an object or an array."""
    if not isinstance(value, Mapping | list | tuple):
        return value
    if not levels:
        return HIDDEN
    if isinstance(value, Mapping):
        return {
            key: HIDDEN if is_secret_name(str(key)) else redacted(each, levels - 1)
            for key, each in value.items()
        }
    copies = [redacted(each, levels - 1) for each in value]
    return copies if isinstance(value, list) else tuple(copies)
