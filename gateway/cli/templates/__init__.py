"""The files that `init` and `new` write: real plugins, checked like all other code."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

__all__ = ["template", "write_new"]


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
