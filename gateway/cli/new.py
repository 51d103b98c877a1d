"""`sockgw new`: creates the skeleton of a plugin, and prints the YAML for it."""

from __future__ import annotations

import keyword
from pathlib import Path

import click

from gateway.cli.templates import template, write_new

__all__ = ["new"]

YAML = {
    "middleware": """
namespaces:
  /:
    connection_middleware: [{use}]  # once per connection
    packet_middleware: [{use}]      # or for every packet
""",
    "handler": """
namespaces:
  /:
    routes:
      {last}: {use}
""",
    "service": """
services:
  {last}: {{use: {use}, with: {{greeting: hello}}}}
""",
}


@click.command(short_help="Create the skeleton of a plugin.")
@click.argument("kind", type=click.Choice(list(YAML)))
@click.argument("name")
@click.option(
    "--plugins",
    "folder",
    default="plugins",
    show_default=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The plugin folder.",
)
def new(kind: str, name: str, folder: Path) -> None:
    """Create the skeleton of a plugin in NAME.py, and print the YAML that uses it.

    Dots in NAME, as in rooms.lobby, mean subfolders. No file is overwritten.
    """
    last = name.rpartition(".")[2]
    attribute = {"middleware": last, "handler": "index", "service": _camel(last)}[kind]
    for part in (*name.split("."), attribute):
        _check(part)
    path = folder.joinpath(*name.split(".")).with_suffix(".py")
    _check_free(path, folder)
    text = template(f"{kind}.py").replace("plugin_name", last).replace("PluginName", attribute)
    write_new(path, text)
    use = name if name == attribute else f"{name}.{attribute}"
    click.echo("\nIn gateway.yaml:" + YAML[kind].format(use=use, last=last), nl=False)


def _check(part: str) -> None:
    if not (part.isascii() and part.isidentifier()) or keyword.iskeyword(part):
        raise click.BadParameter(f"{part!r} is not a valid name in Python", param_hint="NAME")
    if part.startswith("_"):
        raise click.BadParameter(
            f"files that begin with '_' are not plugins: {part!r}", param_hint="NAME"
        )


def _check_free(path: Path, folder: Path) -> None:
    """Raise an error if the name is taken: to Python it is a file or a folder, not both."""
    taken = [path, path.with_suffix("")]
    taken += [parent.with_suffix(".py") for parent in path.parents if folder in parent.parents]
    for other in taken:
        if other.exists():
            raise click.ClickException(f"nothing was written: {other} already exists")


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))
