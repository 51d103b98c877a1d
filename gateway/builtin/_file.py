"""A file of a plugin's configuration, read again when it changes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

__all__ = ["File"]

LOG = logging.getLogger("sockgw.builtin")

T = TypeVar("T")


class File(Generic[T]):
    """The content of a file, parsed by `parse`, which raises `ValueError` for invalid text.

    Creating it raises `ValueError` if the file is invalid. If the file becomes invalid later, that
    is logged and the old content stays in use.
    """

    def __init__(self, path: Path, parse: Callable[[str], T]) -> None:
        self._path = path
        self._parse = parse
        self._stamp = self._look()
        self._content = self._read()

    def read(self) -> T:
        """Return the current content."""
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._content = self._read()
            except ValueError as error:
                LOG.warning("%s; the old content stays in use", error)
        return self._content

    def _look(self) -> tuple[int, int, int] | None:
        try:
            facts = os.stat(self._path)
        except OSError:
            return None
        return facts.st_mtime_ns, facts.st_size, facts.st_ino

    def _read(self) -> T:
        try:
            text = self._path.read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(f"cannot read {self._path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ValueError(f"{self._path} is not UTF-8") from None
        try:
            return self._parse(text)
        except ValueError as error:
            raise ValueError(f"{self._path}: {error}") from None
