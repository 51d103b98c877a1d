"""`sockgw init`: creates a working project."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.templates import project, write_new
from gateway.config.schema import schema_text

__all__ = ["init"]

NEXT = """
Next steps:
{enter}  sockgw run
Open http://127.0.0.1:7001 in {browser}; the port is in gateway.yaml.
In another terminal:
{enter}  sockgw status
{client}{edit}"""

EDIT = """\
Save a file, and it is reloaded. To see first what an edit would change:
  cp gateway.yaml next.yaml     # now edit next.yaml
  sockgw plan next.yaml
  mv next.yaml gateway.yaml     # serve it
Test it, with pytest installed beside sockgw:
  python -m pytest
"""

CLIENTS = {
    "minimal": """\
  sockgw emit http://127.0.0.1:7001 hello Ada --ack
""",
    "chat": """\
  sockgw client http://127.0.0.1:7001 --auth '{"name": "Ada"}'
  > chat "hello world!"
""",
    "build": """\
  sockgw emit 127.0.0.1:7001 build --ack --listen line --count 45 --timeout 60
""",
}
"""Each template, and the commands that speak to what it serves."""


@click.command(short_help="Create a working project in DIR.")
@click.argument("folder", default=".", type=click.Path(path_type=Path), metavar="[DIR]")
@click.option(
    "--template",
    type=click.Choice(list(CLIENTS)),
    default="chat",
    show_default=True,
    help="The project: one event, rooms and nicknames, or a build log that is streamed.",
)
def init(folder: Path, template: str) -> None:
    """Create a working project in DIR: gateway.yaml, plugins, a page and a test.

    No file is overwritten: if one of these exists, nothing is written and the exit code is 1.
    """
    # With the schema beside it, an editor needs no network and matches the installed version.
    files = {**project(template), "gateway.schema.json": schema_text()}
    if there := [name for name in sorted(files) if (folder / name).exists()]:
        raise click.ClickException(
            f"nothing was written: {', '.join(there)} already exist{'s' * (len(there) == 1)}"
        )
    for name, text in sorted(files.items()):
        write_new(folder / name, text)
    steps = NEXT.format(
        enter="" if folder == Path() else f"  cd {folder}\n",
        browser="two tabs" if template == "chat" else "a browser",
        client=CLIENTS[template],
        edit=EDIT,
    )
    click.echo(steps, nl=False)
