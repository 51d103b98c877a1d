"""The last configuration that was accepted, kept for a start with a broken one.

A copy of every file it was made from, in the state folder of the user, readable by nobody else:
variables are not filled in, but options may hold secrets.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from gateway.compiler import Build
from gateway.server.watcher import plugin_files

__all__ = ["LastGood"]


class LastGood:
    """Where the copy of the files behind `file` is kept."""

    def __init__(self, file: Path, environ: Mapping[str, str]) -> None:
        home = environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
        name = hashlib.sha256(str(file.absolute()).encode()).hexdigest()[:16]
        self._folder = Path(home, "sockgw", name)
        self._file = file

    @property
    def file(self) -> Path | None:
        """The copy of `file`, or `None` when nothing was kept."""
        note = self._folder / "main"
        return self._folder / "files" / note.read_text() if note.is_file() else None

    def keep(self, build: Build) -> None:
        """Keep a copy of the files of `build` instead of the former. Raises `OSError`."""
        folders = [folder for folder, _ in build.config.plugins]
        sources = {path.absolute() for path in (*build.config.files, *plugin_files(folders))}
        root = Path(os.path.commonpath([path.parent for path in sources]))
        fresh = self._folder.with_name(f"{self._folder.name}.{os.getpid()}")
        fresh.mkdir(mode=0o700, parents=True)
        for path in sources:
            copy = fresh / "files" / path.relative_to(root)
            copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            copy.touch(mode=0o600)
            copy.write_bytes(path.read_bytes())
        (fresh / "main").write_text(str(self._file.absolute().relative_to(root)))
        shutil.rmtree(self._folder, ignore_errors=True)
        fresh.rename(self._folder)
