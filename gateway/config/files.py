"""Files as they were when they were read, so that a change is found by comparing content."""

from __future__ import annotations

import glob
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BufferedReader
from itertools import takewhile
from pathlib import Path
from typing import TypeAlias

from gateway.limits import LARGEST_FILE

__all__ = ["FileReader", "FileRecord", "Pattern", "is_special"]

Pattern: TypeAlias = tuple[Path, str]
"""A folder and a glob in it."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """The files and globs that were looked for, and what was found.

    `files` maps each path to the SHA-256 of its content, or to `""` when there was no regular
    file that could be read. `globs` maps each pattern to the files that matched it, or to `None`
    when a folder could not be listed.
    """

    files: Mapping[Path, str]
    globs: Mapping[Pattern, tuple[Path, ...] | None]

    def again(self) -> FileRecord:
        """Look for the same files and globs now."""
        return FileRecord(
            files={path: _digest(path) for path in self.files},
            globs={pattern: _matches_or_none(*pattern) for pattern in self.globs},
        )

    def present(self) -> frozenset[Path]:
        """Return the files that are there now, those that match a glob by now included."""
        found = (_matches_or_none(*pattern) or () for pattern in self.globs)
        matches = (path for each in found for path in each)
        return frozenset(matches).union(filter(os.path.isfile, self.files))

    def including(self, *paths: Path) -> FileRecord:
        """Add more files, as they are now."""
        return replace(self, files={**self.files, **{path: _digest(path) for path in paths}})


class FileReader:
    """Reads each file and lists each glob once, and keeps a record of it.

    A file that is asked for twice is the same both times, whatever happens on the disk meanwhile.
    """

    def __init__(self) -> None:
        self._files: dict[Path, str] = {}
        self._globs: dict[Pattern, tuple[Path, ...] | None] = {}
        self._read: dict[Path, bytes | OSError] = {}

    @property
    def record(self) -> FileRecord:
        """Everything looked for so far."""
        return FileRecord(dict(self._files), dict(self._globs))

    def read(self, path: Path, limit: int = LARGEST_FILE) -> bytes:
        """Return the content, of which no more than `limit` bytes and one are kept.

        Raises `OSError`.
        """
        if path not in self._read:
            self._files[path] = ""
            try:
                with path.open("rb") as file:
                    data, self._files[path] = _read(file, limit)
                self._read[path] = data
            except OSError as error:
                self._read[path] = error
        found = self._read[path]
        if isinstance(found, OSError):
            raise found
        return found

    def refuse(self, path: Path) -> None:
        """Record a path that is not read because it is not a regular file."""
        self._files.setdefault(path, "")

    def glob(self, folder: Path, pattern: str) -> tuple[Path, ...]:
        """Return the files that match, sorted.

        A link that leads nowhere matches too: whoever reads it gets the error. Raises `OSError`
        for a folder that cannot be listed; one that does not exist has no matches.
        """
        known = self._globs.get((folder, pattern))
        if known is None:
            self._globs[folder, pattern] = None
            known = self._globs[folder, pattern] = _matches(folder, pattern)
        return known


def _matches_or_none(folder: Path, pattern: str) -> tuple[Path, ...] | None:
    try:
        return _matches(folder, pattern)
    except OSError:
        return None


def _matches(folder: Path, pattern: str) -> tuple[Path, ...]:
    _list(folder, pattern)
    found = (folder / name for name in glob.glob(pattern, root_dir=folder, recursive=True))
    return tuple(sorted(path for path in found if not _is_something_else(path)))


def _list(folder: Path, pattern: str) -> None:
    """List the folders that a glob looks into. Raises `OSError`, which `glob` keeps to itself."""
    *parents, _ = pattern.split("/")
    fixed = list(takewhile(lambda part: not glob.has_magic(part), parents))
    top = folder.joinpath(*fixed)
    try:
        if len(fixed) == len(parents) and "**" not in pattern:
            os.listdir(top)
        else:
            for _ in os.walk(top, onerror=_fail):
                pass
    except FileNotFoundError:
        return


def _fail(error: OSError) -> None:
    raise error


def _is_something_else(path: Path) -> bool:
    """True for a folder, a pipe or a device: something that is there and no regular file."""
    return is_special(path) or path.is_dir()


def is_special(path: Path) -> bool:
    """Tell whether a path leads to a pipe, a device or a socket, which may have no end."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _digest(path: Path) -> str:
    if not os.path.isfile(path):  # opening a pipe would wait for its other end
        return ""
    try:
        with path.open("rb") as file:
            return _read(file, 0)[1]
    except OSError:
        return ""


def _read(file: BufferedReader, limit: int) -> tuple[bytes, str]:
    """Return the first `limit` bytes and one, and the digest, `""` for a pipe or device.

    A file may be endless, so the digest has its size and what of it may be used.
    """
    data = file.read(LARGEST_FILE + 1)
    facts = os.fstat(file.fileno())
    digest = hashlib.sha256(data)
    if len(data) > LARGEST_FILE:
        digest.update(str(facts.st_size).encode())
    return data[: limit + 1], digest.hexdigest() if stat.S_ISREG(facts.st_mode) else ""
