"""The last configuration that was accepted, kept for a start with a broken one.

A copy of every file it was made from, in the state folder of the user, readable by nobody else.
References are not filled in, and the files they lead to are not copied; but options may hold
secrets.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from gateway import config as configs
from gateway.compiler import Build
from gateway.config.model import GatewayConfig
from gateway.errors import ConfigError

__all__ = ["LastGood"]


class LastGood:
    """Where the copy of the files behind `file` is kept; nowhere for a user without a home."""

    def __init__(self, file: Path, environ: Mapping[str, str]) -> None:
        self._file = file.absolute()
        self._environ = environ
        self._folder: Path | None = None
        with suppress(RuntimeError):
            home = environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
            name = hashlib.sha256(str(self._file).encode()).hexdigest()[:16]
            self._folder = Path(home, "sockgw", name).absolute()

    @property
    def beside(self) -> Path:
        """The folder to which the files that values refer to are relative: they are not copied."""
        return self._file.parent

    @property
    def file(self) -> Path | None:
        """The copy of `file`, or `None` when nothing was kept."""
        note = self._folder / "main" if self._folder else None
        return note.parent / note.read_text() if note and note.is_file() else None

    def keep(self, build: Build) -> None:
        """Keep a copy of the files of `build` instead of the former. Raises `OSError`.

        Keeps the former when the files are others by now. To be called in a thread.
        """
        if self._folder is None:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)  # it may have been there before
        fresh = Path(tempfile.mkdtemp(dir=self._folder))
        main = fresh / self._copy(build, fresh)
        with suppress(ConfigError):
            kept = configs.load(main, self._environ, self.beside)
            if kept.digest == build.config.digest:
                note = fresh / "main"
                note.write_text(str(main.relative_to(self._folder)))
                os.replace(note, self._folder / "main")
        last = self.file
        for each in self._folder.iterdir():
            if each.is_dir() and not (last and last.is_relative_to(each)):
                shutil.rmtree(each, ignore_errors=True)

    def in_place(self, config: GatewayConfig) -> GatewayConfig:
        """A config that was read from the copy, with the paths of what is not copied."""
        server, admin = config.server, config.admin
        if server.tls:
            cert, key = self._original(server.tls.cert), self._original(server.tls.key)
            server = replace(server, tls=replace(server.tls, cert=cert, key=key))
        if admin and admin.socket:
            admin = replace(admin, socket=self._original(admin.socket))
        return replace(config, server=server, admin=admin)

    def _copy(self, build: Build, fresh: Path) -> Path:
        """Copy what `build` is made from to `fresh`; gives the path of the main file in there."""
        files = {_plain(path): path.read_bytes() for path in build.config.files}
        files |= build.plugins.files
        root = Path(os.path.commonpath([path.parent for path in files]))
        for path, data in files.items():
            copy = fresh / path.relative_to(root)
            copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            copy.touch(mode=0o600)
            copy.write_bytes(data)
        return _plain(self._file).relative_to(root)

    def _original(self, path: Path) -> Path:
        copy = self.file
        if copy and path.is_relative_to(copy.parent):
            return self._file.parent / path.relative_to(copy.parent)
        return path


def _plain(path: Path) -> Path:
    """The absolute path without `..`, which would lead out of the copy."""
    return Path(os.path.abspath(path))
