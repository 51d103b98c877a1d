"""`sockgw init`: creates a working example."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.templates import template, write_new
from gateway.config.schema import schema_text

__all__ = ["init"]

NEXT = """
Next steps:
{enter}  sockgw check
  sockgw run
In another terminal:
  sockgw client http://127.0.0.1:7001 --auth '{{"name": "Ada"}}'
  > chat "hello world!"
"""


@click.command(short_help="Create a working example in DIR.")
@click.argument("folder", default=".", type=click.Path(path_type=Path), metavar="[DIR]")
def init(folder: Path) -> None:
    """Create a working example in DIR: gateway.yaml and two plugins.

    No file is overwritten: if one of these exists, nothing is written and the exit code is 1.
    """
    files = {
        # With the schema beside it, an editor needs no network and matches the installed version.
        "gateway.schema.json": schema_text(),
        "gateway.yaml": template("gateway.yaml"),
        "plugins/auth.py": template("auth.py"),
        "plugins/chat.py": template("chat.py"),
    }
    if there := [name for name in files if (folder / name).exists()]:
        raise click.ClickException(
            f"nothing was written: {', '.join(there)} already exist{'s' * (len(there) == 1)}"
        )
    for name, text in files.items():
        write_new(folder / name, text)
    enter = "" if folder == Path() else f"  cd {folder}\n"
    click.echo(NEXT.format(enter=enter), nl=False)
