"""Parts of messages: values, lists of choices and guesses, as a person would write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any, TypeAlias

from gateway.errors import did_you_mean
from gateway.redaction import HIDDEN

__all__ = [
    "HIDDEN",
    "KeyPath",
    "choice",
    "dotted",
    "expected",
    "guess",
    "is_loopback",
    "shown",
    "url_path",
    "with_slash",
]

KeyPath: TypeAlias = tuple[str | int, ...]
"""The keys and list positions that lead to a value."""

_LONGEST = 40
_TYPES = {
    "object": "expected a mapping",
    "array": "expected a list",
    "string": "expected text",
    "integer": "expected a whole number",
    "number": "expected a number",
    "boolean": "write true or false",
}


def with_slash(namespace: str) -> str:
    """Return the name of a namespace on the wire, always with its leading `/`."""
    return "/" + namespace.removeprefix("/")


def url_path(written: str) -> str:
    """Return a URL path with a slash at both ends."""
    inner = written.strip("/")
    return f"/{inner}/" if inner else "/"


def shown(value: object) -> str:
    """Return a value as YAML has it, cut to one short line."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case str():
            return repr(value if len(value) <= _LONGEST else value[:_LONGEST] + "...")
        case dict():
            return "a mapping" if value else "an empty mapping"
        case list():
            return "a list" if value else "an empty list"
        case _:
            return str(value)


def choice(words: Iterable[object], link: str = "or") -> str:
    """`a, b or c`."""
    *most, last = map(str, words)
    return f"{', '.join(most)} {link} {last}" if most else last


def expected(rule: Mapping[str, Any]) -> str:
    """Return what a part of the schema expects; its own `errorMessage` comes first."""
    if "errorMessage" in rule:
        return str(rule["errorMessage"])
    if "enum" in rule:
        return f"expected {choice(rule['enum'])}"
    kinds = [rule["type"]] if isinstance(rule["type"], str) else rule["type"]
    return _TYPES[kinds[0]]


def guess(word: str, known: Iterable[str]) -> str:
    """Return `, did you mean 'x'?` when a known word is near, else `; known: a, b and c`."""
    known = sorted(known)
    return did_you_mean(word, known) or f"; known: {choice(known, 'and')}"


def dotted(path: KeyPath) -> str:
    """`namespaces./chat.packet_middleware[0]`; a key that would spoil the line is quoted."""
    parts = (f"[{key}]" if isinstance(key, int) else f".{_key(key)}" for key in path)
    return "".join(parts).removeprefix(".")


def _key(key: str) -> str:
    return key if re.fullmatch(r"[^\s.'\"\[\]]+", key) and key.isprintable() else repr(key)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a listener on `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
