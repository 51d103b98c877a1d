"""Checkouts of this repository: this one, another folder, or a revision."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.load import BUILD
from bench.python import ROOT

__all__ = ["Checkout", "checkout", "this"]


@dataclass(frozen=True, slots=True)
class Checkout:
    """A tree of files with a gateway; `name` is what the tables call it."""

    name: str
    folder: Path

    @property
    def revision(self) -> str:
        """The revision as git describes it."""
        if self.folder.is_relative_to(BUILD):
            return self.name
        describe = ["git", "-C", str(self.folder), "describe", "--always", "--dirty"]
        return subprocess.run(describe, check=False, capture_output=True, text=True).stdout.strip()


def this() -> Checkout:
    """The checkout that the bench is part of."""
    return Checkout("this", ROOT)


def checkout(against: str) -> Checkout:
    """A folder as it is, or the files of a revision of this repository.

    Raises `RuntimeError` if it is neither.
    """
    if (Path(against) / "gateway").is_dir():
        return Checkout(against, Path(against).resolve())
    git = ["git", "-C", str(ROOT)]
    found = subprocess.run(
        [*git, "rev-parse", "--verify", "--short", f"{against}^{{commit}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        raise RuntimeError(f"'{against}' is no folder with a gateway, and no revision")
    revision = found.stdout.strip()
    folder = BUILD / "checkouts" / revision
    if not folder.exists():
        archive = subprocess.run([*git, "archive", revision], check=True, capture_output=True)
        folder.mkdir(parents=True)
        subprocess.run(["tar", "-x", "-C", folder], check=True, input=archive.stdout)
    return Checkout(revision, folder)
