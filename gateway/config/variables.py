"""`${VAR}`, `${VAR:-default}` and `${VAR:?message}`, as a shell reads them.

A default stands in for a variable that is not set or empty, a message refuses one. `$${` is a
literal `${`. What is filled in is text and is not looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.config.words import shown

__all__ = ["fill"]

_DOLLAR = re.compile(r"\$\$\{|\$\{[^}]*\}?")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::(-|\?)((?:(?!\$\{)[^}])*))?\}")
_FORMS = "write ${VAR}, ${VAR:-default} or ${VAR:?message}, and $${ for a literal ${"


def fill(text: str, environ: Mapping[str, str]) -> tuple[str, list[str]]:
    """Put the variables' values in. Returns the text and what is wrong, one message a variable."""
    wrong: list[str] = []

    def value(found: re.Match[str]) -> str:
        if found[0] == "$${":
            return "${"
        try:
            return _value(found[0], environ)
        except ValueError as error:
            wrong.append(str(error))
            return found[0]

    return _DOLLAR.sub(value, text), wrong


def _value(written: str, environ: Mapping[str, str]) -> str:
    variable = _VARIABLE.fullmatch(written)
    if variable is None:
        raise ValueError(f"{shown(written)} is no variable; {_FORMS}")
    name, kind, rest = variable.groups()
    value = environ.get(name)
    if value or (value is not None and kind is None):
        return value
    if kind == "-":
        return str(rest)
    state = "not set" if value is None else "empty"
    message = " ".join(rest.split()) if rest else ""
    advice = f": {message}" if message else f"; write ${{{name}:-default}} to give a default"
    raise ValueError(f"environment variable {name!r} is {state}{advice}")
