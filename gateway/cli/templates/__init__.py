"""The files that `init` and `new` write: real plugins, held to the rules of all other code."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

__all__ = ["template", "write_new"]


def template(name: str) -> str:
    """The text of a file in this folder."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet, with the folders above it, and say so.

    Raises `click.ClickException` when it is there, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise click.ClickException(f"cannot write {path}: {reason}") from None
    click.echo(f"wrote {path}")
