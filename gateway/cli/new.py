"""`sockgw new`: the skeleton of a plugin, and the YAML that uses it."""

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


@click.command(short_help="Write the skeleton of a plugin.")
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
    """Write the skeleton of a plugin to NAME.py, and show the YAML that uses it.

    The dots of a NAME such as rooms.lobby are subfolders. No file is overwritten.
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
        raise click.BadParameter(f"{part!r} is no name in Python", param_hint="NAME")
    if part.startswith("_"):
        raise click.BadParameter(
            f"files that begin with '_' are no plugins: {part!r}", param_hint="NAME"
        )


def _check_free(path: Path, folder: Path) -> None:
    """To Python a name is a file or a folder, not both."""
    taken = [path, path.with_suffix("")]
    taken += [parent.with_suffix(".py") for parent in path.parents if folder in parent.parents]
    for other in taken:
        if other.exists():
            raise click.ClickException(f"nothing was written, {other} exists already")


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))
