"""The folders of `server.static`: read into memory at one moment, and made into pages."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from time import time
from types import MappingProxyType
from typing import BinaryIO, TypeAlias

from gateway.config import Document, FileRecord, GatewayConfig, is_special
from gateway.errors import Place, Problem
from gateway.http.static import Page, make_page

__all__ = [
    "KnownFile",
    "PageFile",
    "PageFiles",
    "PageFolders",
    "folders_of",
    "make_pages",
    "page_problems",
]

INDEX = "index.html"

SETTLED = 2.0
"""Seconds without a change after which a file that is read is known by its stamp.

Before, a change of as many bytes could have the same time: some file systems count in 2 s.
"""

Stamp: TypeAlias = tuple[int, int, int, int, int]
"""Times of the last changes of content and of the file, size, inode and device of a file."""


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file that was read, its stamp and the SHA-256 of its content."""

    stamp: Stamp
    digest: str


@dataclass(frozen=True, slots=True)
class PageFolders:
    """The folders to read, by the URL paths that lead to them, which end in a slash.

    No more than `most_bytes` are read, and no more than `most_files` files and folders.
    """

    by_path: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))
    most_bytes: float = inf
    most_files: float = inf

    def read(self, known: Mapping[Path, KnownFile] = MappingProxyType({})) -> PageFiles:
        """Read every file in and below the folders. Raises nothing.

        Those that are `known`, and have the same stamp, are not read again: their data is empty.
        """
        reading = _Reading(self, known)
        for path, folder in self.by_path.items():
            reading.root(path, folder)
        return reading.found()


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file, its content and the SHA-256 of that. `path` is as the gateway.yaml has it."""

    path: Path
    data: bytes = field(repr=False)
    digest: str


@dataclass(frozen=True, slots=True)
class PageFiles:
    """The files of the page folders, by URL path, as they were at one moment.

    `digest` covers all of it. `faults` explain by its URL path why a folder cannot be served,
    `problems` are files that cannot. `excess` is the limit that is exceeded, `""` if none is.
    `known` are the files whose content their stamps tell, see `SETTLED`.
    """

    digest: str
    files: Mapping[str, PageFile]
    faults: Mapping[str, str]
    problems: tuple[Problem, ...]
    excess: str
    known: Mapping[Path, KnownFile]


def folders_of(config: GatewayConfig | None) -> PageFolders:
    """Return the folders that a config has pages in."""
    if config is None:
        return PageFolders()
    return PageFolders(
        MappingProxyType({each.path: each.folder for each in config.server.static}),
        config.limits.static_size,
        config.limits.static_files,
    )


def page_problems(
    config: GatewayConfig | None,
    document: Document,
    read: PageFiles,
    record: FileRecord,
    plugins: Collection[Path],
) -> Iterator[Problem]:
    """Find why pages cannot be served; `record` and `plugins` are what no client may read."""
    for each in config.server.static if config else ():
        if fault := read.faults.get(each.path) or _exposed(each.folder, (*record.files, *plugins)):
            yield each.at.problem(fault)
    yield from read.problems
    if config and read.excess:
        limit = f"limits.{read.excess}"
        most = getattr(config.limits, read.excess)
        what = "bytes" if read.excess == "static_size" else "files and folders"
        message = f"more than {most:,} {what}; leave some out, or raise {limit}"
        yield document.around("server", "static").problem(message)


def make_pages(files: PageFiles, former: Mapping[str, Page]) -> Mapping[str, Page]:
    """Make the pages of files. Those of `former` that are the same are used again."""
    pages: dict[str, Page] = {}
    for path, file in files.files.items():
        page = former.get(path)
        if page is None or page.digest != file.digest:
            page = make_page(file.path.name, file.data, file.digest)
        pages[path] = page
        if file.path.name == INDEX:
            pages[path.removesuffix(INDEX)] = page
    return MappingProxyType(pages)


def _exposed(folder: Path, private: Collection[Path]) -> str | None:
    """Return why a folder is not for clients: it has a file of the gateway itself in it."""
    root = Path(os.path.realpath(folder))
    for path in private:
        real = Path(os.path.realpath(path))
        if real.is_relative_to(root):
            inside = real.relative_to(root)
            if not any(part.startswith(".") for part in inside.parts):
                name = f"{folder} has {inside} in it" if inside.parts else f"{folder} has plugins"
                return f"{name}, which no client may read: keep pages in a folder of their own"
    return None


class _Reading:
    """One reading of all folders. It stops where a limit is exceeded."""

    def __init__(self, folders: PageFolders, known: Mapping[Path, KnownFile]) -> None:
        self._folders = folders
        self._former = known
        self._known: dict[Path, KnownFile] = {}
        self._bytes = self._count = 0
        self._files: dict[str, PageFile] = {}
        self._faults: dict[str, str] = {}
        self._problems: list[Problem] = []
        self._excess = ""

    def found(self) -> PageFiles:
        digest = hashlib.sha256()
        for path, file in sorted(self._files.items()):
            digest.update(repr((path, file.digest)).encode())
        troubles = (sorted(map(str, self._problems)), sorted(self._faults.items()), self._excess)
        digest.update(repr(troubles).encode())
        return PageFiles(
            digest.hexdigest(),
            MappingProxyType(self._files),
            MappingProxyType(self._faults),
            tuple(self._problems),
            self._excess,
            MappingProxyType(self._known),
        )

    def root(self, path: str, folder: Path) -> None:
        if not os.path.exists(folder):
            self._faults[path] = f"there is no folder {folder}"
        elif not os.path.isdir(folder):
            self._faults[path] = f"{folder} is not a folder"
        elif not os.access(folder, os.R_OK | os.X_OK):
            self._faults[path] = f"cannot read the folder {folder}: Permission denied"
        else:
            before = len(self._files)
            self._tree(path, folder)
            if len(self._files) == before and not self._problems and not self._excess:
                self._faults[path] = f"there is no page in {folder}"

    def _tree(self, path: str, folder: Path) -> None:
        root = os.path.realpath(folder)
        waiting = [(path, folder, frozenset({root}))]
        while waiting and not self._excess:
            prefix, here, above = waiting.pop()
            for name in self._list(here):
                entry, url = here / name, prefix + name
                real = os.path.realpath(entry)
                if not real.startswith(f"{root}{os.sep}"):
                    self._problem(entry, "this link leads out of the folder; copy what it leads to")
                elif not os.path.isdir(entry):
                    self._file(url, entry)
                elif real in above:
                    self._problem(entry, "this link leads back to a folder it is in; remove it")
                elif f"{url}/" not in self._folders.by_path:  # the longest prefix has the page
                    waiting.append((f"{url}/", entry, above | {real}))

    def _list(self, folder: Path) -> Iterator[str]:
        """Yield the names of what is in a folder, unless it is hidden or a limit is exceeded."""
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            self._problem(folder, f"cannot read: {error.strerror}")
            return
        for name in names:
            if self._excess or name.startswith("."):
                continue
            self._count += 1
            if self._count > self._folders.most_files:
                self._excess = "static_files"
                return
            if name.isprintable():
                yield name
            else:
                self._problem(folder, f"no browser can ask for {name!a} in it; rename that")

    def _file(self, url: str, path: Path) -> None:
        if is_special(path) or not os.path.exists(path):
            self._problem(path, "cannot read: not a file, or a link to none")
            return
        try:
            with path.open("rb") as file:
                self._content(url, path, file)
        except OSError as error:
            self._problem(path, f"cannot read: {error.strerror}")

    def _content(self, url: str, path: Path, file: BinaryIO) -> None:
        """Read an open file, or take the digest it is known by."""
        now, facts = time(), os.fstat(file.fileno())
        stamp = _stamp(facts)
        known, data, size = self._former.get(path), b"", facts.st_size
        if known is None or known.stamp != stamp:
            rest = self._folders.most_bytes - self._bytes
            data = file.read() if rest == inf else file.read(int(rest) + 1)
            known, size = KnownFile(stamp, hashlib.sha256(data).hexdigest()), len(data)
        self._bytes += size
        if self._bytes > self._folders.most_bytes:
            self._excess = "static_size"
            return
        self._files[url] = PageFile(path, data, known.digest)
        if now - max(facts.st_mtime, facts.st_ctime) >= SETTLED:
            self._known[path] = known

    def _problem(self, path: Path, message: str) -> None:
        self._problems.append(Problem(Place(str(path)), "", message))


def _stamp(facts: os.stat_result) -> Stamp:
    return facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino, facts.st_dev
