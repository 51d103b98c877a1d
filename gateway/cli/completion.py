"""`sockgw completion`: prints the script with which a shell completes verbs and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["completion"]

FILES = {
    "bash": "~/.local/share/bash-completion/completions/sockgw",
    "zsh": '"${fpath[1]}/_sockgw"',
    "fish": "~/.config/fish/completions/sockgw.fish",
}


@click.command(short_help="Print the completion script for SHELL.")
@click.argument("shell", type=click.Choice(list(FILES)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for SHELL. Its last line says how to install it."""
    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(context.find_root().command, {}, "sockgw", "_SOCKGW_COMPLETE").source())
    # Last, because zsh looks for `#compdef` in the first line.
    click.echo(f"# Install it: sockgw completion {shell} > {FILES[shell]}")
