"""`sockgw schema`: prints the JSON Schema of gateway.yaml."""

from __future__ import annotations

import click

from gateway.cli.common import format_option
from gateway.config.schema import schema_text

__all__ = ["schema"]


@click.command(short_help="Print the JSON Schema of gateway.yaml.")
@format_option(help="The schema is JSON either way.")
def schema(format: str) -> None:
    """Print the JSON Schema of gateway.yaml, for editors and other tools."""
    click.echo(schema_text(), nl=False)
