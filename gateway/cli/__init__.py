"""The command line, one module per verb."""

from __future__ import annotations

import os

import click

from gateway.cli import client, emit
from gateway.cli.audit import audit
from gateway.cli.backends import backends
from gateway.cli.check import check
from gateway.cli.completion import completion
from gateway.cli.healthcheck import healthcheck
from gateway.cli.init import init
from gateway.cli.new import new
from gateway.cli.plan import plan
from gateway.cli.push import push
from gateway.cli.reload import reload
from gateway.cli.routes import routes
from gateway.cli.run import run
from gateway.cli.schema import schema
from gateway.cli.status import status
from gateway.cli.upgrade import upgrade

__all__ = ["main"]

URL = "http://127.0.0.1:7001"
EXAMPLES = {
    run: "sockgw run gateway.yaml --port 8080 -v",
    check: "sockgw check gateway.yaml --format github",
    audit: "sockgw audit gateway.yaml --fail-on medium",
    routes: "sockgw routes gateway.yaml",
    plan: "sockgw plan gateway.yaml",
    reload: "sockgw reload gateway.yaml --format github",
    upgrade: "sockgw upgrade gateway.yaml",
    status: "sockgw status gateway.yaml",
    backends: "sockgw backends probe orders gateway.yaml",
    healthcheck: "sockgw healthcheck gateway.yaml --timeout 2",
    init: "sockgw init demo",
    new: "sockgw new middleware auth",
    client.command: f"""sockgw client {URL}/chat --auth '{{"token": "secret"}}'""",
    emit.command: f"sockgw emit {URL} chat hello --ack --listen res --count 2",
    push: "sockgw push emit /chat said hello --room lobby",
    schema: "sockgw schema > gateway.schema.json",
    completion: "sockgw completion bash",
}


class _Verbs(click.Group):
    """Lists the verbs in the order of `EXAMPLES`, not alphabetically."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    subcommand_metavar="VERB [ARGS]...",
)
@click.version_option(package_name="sockgw", prog_name="sockgw")
@click.pass_context
def main(ctx: click.Context) -> None:
    """A Socket.IO gateway declared in YAML, with plugins in Python."""
    if os.environ.get("NO_COLOR"):  # https://no-color.org
        ctx.color = False


for verb, example in EXAMPLES.items():
    verb.epilog = f"\b\nExample:\n  {example}"
    main.add_command(verb)
main.epilog = "Start with `sockgw init`. `sockgw VERB --help` explains each verb."
