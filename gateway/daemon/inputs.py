"""The inputs: what a gateway is made from, found again whether or not it can be made from it."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from gateway.config import find_sources, load
from gateway.errors import ConfigError
from gateway.loader.sources import read_sources

__all__ = ["Inputs", "find_inputs", "grounds", "signature"]


@dataclass(frozen=True, slots=True)
class Inputs:
    """The files, each as a folder and a glob in it, and the plugin folders."""

    files: tuple[tuple[Path, str], ...] = ()
    folders: tuple[Path, ...] = ()

    def paths(self) -> Iterator[Path]:
        """The files that are there."""
        found = (
            folder / name
            for folder, pattern in self.files
            for name in sorted(glob.glob(pattern, root_dir=folder, recursive=True))
        )
        yield from filter(os.path.isfile, found)


def find_inputs(file: Path, environ: Mapping[str, str]) -> Inputs:
    """What `file` names as it is now: of a broken one, as far as it tells. Raises nothing."""
    files = find_sources(file, environ)
    try:
        config = load(file, environ)
    except ConfigError:
        return Inputs(files)
    tls = config.server.tls
    certificates = (tls.cert, tls.key) if tls else ()
    return Inputs(
        (*files, *((path.parent, glob.escape(path.name)) for path in certificates)),
        tuple(folder for folder, _ in config.plugins),
    )


def signature(inputs: Inputs) -> str:
    """A digest of the inputs as they are now: names and contents, whatever the time stamps say.

    What cannot be read counts as absent.
    """
    digest = hashlib.sha256(read_sources(inputs.folders).digest.encode())
    for path in inputs.paths():
        with suppress(OSError):
            content = path.read_bytes()
            digest.update(f"{path}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def grounds(inputs: Inputs) -> list[Path]:
    """The folders in which a change may concern the inputs, each without those below it.

    Never a file: saving by rename ends the watch on a file. Where a name leads through links,
    the folders on both sides count; for a folder that is not there, the nearest one above.
    """
    found = {_nearest(folder.parent) for folder in inputs.folders}
    for folder, pattern in inputs.files:
        parts = takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts[:-1])
        found.add(_nearest(folder.joinpath(*parts)))
    for path in inputs.paths():
        found |= {path.parent, Path(os.path.realpath(path)).parent}
    for folder in inputs.folders:
        found.update(_below(folder, set()))
    return sorted(found)


def _nearest(folder: Path) -> Path:
    return next((each for each in (folder, *folder.parents) if os.path.isdir(each)), folder)


def _below(folder: Path, seen: set[str]) -> Iterator[Path]:
    """A plugin folder and those in it; links may lead back."""
    real = os.path.realpath(folder)
    if real in seen or not os.path.isdir(folder):
        return
    seen.add(real)
    yield folder
    names: list[str] = []
    with suppress(OSError), os.scandir(folder) as entries:
        names += (entry.name for entry in entries if entry.is_dir())
    for name in names:
        if name != "__pycache__" and not name.startswith("."):
            yield from _below(folder / name, seen)
