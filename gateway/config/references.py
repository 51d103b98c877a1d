"""References: `${VAR}`, `${VAR:-default}` and `${VAR:?message}` as in a shell, and files.

A default replaces a variable that is unset or empty; a message refuses one. `${file:PATH}` is the
content of a file without the line break at its end. `$${` is a literal `${`. The text filled in
is not searched for references again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.config.files import FileReader
from gateway.config.messages import shown

__all__ = ["FILE_LIMIT", "Filled", "fill"]

FILE_LIMIT = 64_000
"""Bytes of a referenced file: enough for any key."""

_DOLLAR = re.compile(r"\$\$\{|\$\{[^}]*\}?")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::(-|\?)((?:(?!\$\{)[^}])*))?\}")
_FILE = re.compile(r"\$\{file:([^}?-][^}]*)\}")
_FORMS = "write ${VAR}, ${VAR:-default}, ${VAR:?message} or ${file:PATH}, and $${ for a literal ${"


@dataclass(frozen=True, slots=True)
class Filled:
    """A text with its references filled in.

    `wrong` has one message for each reference that cannot be filled in. `secrets` are the pieces
    that came from a variable or a file; a default is none. `is_whole` is true for a text that was
    nothing but references to variables.
    """

    text: str
    wrong: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    names_a_file: bool = False
    is_whole: bool = False


def fill(text: str, environ: Mapping[str, str], folder: Path, reader: FileReader) -> Filled:
    """Fill in the references; those to files are relative to `folder` and read by `reader`."""
    filling = _Filling(environ, folder, reader)
    filled = _DOLLAR.sub(filling.value, text)
    is_whole = bool(text) and "$${" not in text and not _DOLLAR.sub("", text)
    return Filled(
        filled,
        tuple(filling.wrong),
        tuple(filling.secrets),
        filling.names_a_file,
        is_whole and not filling.names_a_file,
    )


class _Filling:
    """Fills in one text and collects problems and secrets on the way."""

    def __init__(self, environ: Mapping[str, str], folder: Path, reader: FileReader) -> None:
        self.wrong: list[str] = []
        self.secrets: list[str] = []
        self.names_a_file = False
        self._environ = environ
        self._folder = folder
        self._reader = reader

    def value(self, found: re.Match[str]) -> str:
        written = found[0]
        if written == "$${":
            return "${"
        try:
            if file := _FILE.fullmatch(written):
                self.names_a_file = True
                return self._secret(self._content(file[1]))
            return self._variable(written)
        except ValueError as error:
            self.wrong.append(str(error))
            return written

    def _variable(self, written: str) -> str:
        variable = _VARIABLE.fullmatch(written)
        if variable is None:
            raise ValueError(f"{shown(written)} is no reference; {_FORMS}")
        name, kind, rest = variable.groups()
        value = self._environ.get(name)
        if value or (value is not None and kind is None):
            return self._secret(value)
        if kind == "-":
            return str(rest)
        state = "not set" if value is None else "empty"
        message = " ".join(rest.split()) if rest else ""
        advice = f": {message}" if message else f"; write ${{{name}:-default}} to give a default"
        raise ValueError(f"environment variable {name!r} is {state}{advice}")

    def _secret(self, value: str) -> str:
        if value:
            self.secrets.append(value)
        return value

    def _content(self, written: str) -> str:
        """Return the text of a file. Raises `ValueError` with nothing of it in the message."""
        path = self._folder / written
        try:
            if os.path.exists(path) and not os.path.isfile(path):
                self._reader.refuse(path)
                raise ValueError(f"{written!r} is not a file")
            data = self._reader.read(path, FILE_LIMIT)
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{written!r} is not UTF-8") from None
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ValueError(f"cannot read {written!r}: {reason}") from None
        if len(data) > FILE_LIMIT:
            raise ValueError(f"{written!r} is larger than 64 kB")
        return text.removesuffix("\n").removesuffix("\r")
