"""The files that `init` and `new` write: real plugins, checked like all other code."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import click

__all__ = ["project", "template", "write_new"]

SHARED = {
    ".dockerignore": "dockerignore",
    ".gitignore": "gitignore",
    "Dockerfile": "Dockerfile",
    "pytest.ini": "pytest.ini",
    "web/socket.io.min.js": "socket.io.min.js",
}
"""Files of every project, by their names in it. Here, no name begins with a dot: such a file would
be in force in this repository."""


def project(name: str) -> dict[str, str]:
    """Return the files of a project of `init`, by their paths in it."""
    found = {path: template(f"shared/{source}") for path, source in SHARED.items()}
    found.update(_tree(files(__name__).joinpath(f"{name}_project"), ""))
    return found


def _tree(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.is_file():
            yield prefix + entry.name, entry.read_text(encoding="utf-8")
        elif entry.name != "__pycache__":
            yield from _tree(entry, f"{prefix}{entry.name}/")


def template(name: str) -> str:
    """Read a file in this folder."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def write_new(path: Path, text: str) -> None:
    """Create a file and its folders, and print its path.

    Raises `click.ClickException` if the file exists or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise click.ClickException(f"cannot write {path}: {reason}") from None
    click.echo(f"wrote {path}")
