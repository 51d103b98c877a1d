"""The last accepted configuration, kept so that a start with a broken file can serve it.

It is a copy of every file the configuration was made from, in the user's state folder. Only the
user may read it: references are not filled in and the files they name are not copied, but options
may hold secrets.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from gateway.snapshot import Snapshot

__all__ = ["LastGood", "spools_of"]


def spools_of(file: Path, environ: Mapping[str, str]) -> Path | None:
    """Return the folder for the spools of `file`; `None` for a user without a home folder."""
    folder = _folder(file, environ)
    return folder and folder.with_name(f"{folder.name}-spool")


def _folder(file: Path, environ: Mapping[str, str]) -> Path | None:
    try:
        home = environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    except RuntimeError:
        return None
    name = hashlib.sha256(str(file.absolute()).encode()).hexdigest()[:16]
    return Path(home, "sockgw", name).absolute()


class LastGood:
    """The copy of the files behind `file`; a user without a home folder has none."""

    def __init__(self, file: Path, environ: Mapping[str, str]) -> None:
        self._file = file.absolute()
        self._folder = _folder(file, environ)

    @property
    def beside(self) -> Path:
        """The folder that certificates and other files are relative to; those are not copied."""
        return self._file.parent

    @property
    def file(self) -> Path | None:
        """The copy of `file`, or `None` when there is none."""
        note = self._folder / "main" if self._folder else None
        return note.parent / note.read_text() if note and note.is_file() else None

    def keep(self, snapshot: Snapshot) -> None:
        """Replace the copy by the files of a snapshot, as they were read.

        Blocks, so call it in a thread. Raises `OSError`, and leaves the former copy then.
        """
        if self._folder is None:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)  # it may have been there before
        fresh = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            main = fresh / self._copy(snapshot, fresh)
            note = fresh / "main"
            note.write_text(str(main.relative_to(self._folder)))
            os.replace(note, self._folder / "main")
        except OSError:
            shutil.rmtree(fresh, ignore_errors=True)  # on a full disk it would take what is left
            raise
        last = self.file
        for each in self._folder.iterdir():
            if each.is_dir() and not (last and last.is_relative_to(each)):
                shutil.rmtree(each, ignore_errors=True)

    def _copy(self, snapshot: Snapshot, fresh: Path) -> Path:
        """Copy the files of `snapshot` to `fresh`; return the path of the main file in there."""
        written = snapshot.config.files if snapshot.config else {}
        files = {_plain(path): data for path, data in written.items()}
        files |= {Path(source.path): source.data for source in snapshot.sources.files.values()}
        root = Path(os.path.commonpath([path.parent for path in files]))
        for path, data in files.items():
            copy = fresh / path.relative_to(root)
            copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            copy.touch(mode=0o600)
            copy.write_bytes(data)
        return _plain(self._file).relative_to(root)


def _plain(path: Path) -> Path:
    """Return the absolute path without `..`, which would lead out of the copy."""
    return Path(os.path.abspath(path))
