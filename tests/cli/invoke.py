"""The command line in the test's own process."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from gateway.cli import main

__all__ = ["invoke"]


def invoke(*args: str | Path, color: bool = False, **environment: str) -> Result:
    """Run `sockgw ARGS`, on a terminal of 80 columns that shows colours if `color`.

    Anything but an exit that the verb meant is raised.
    """
    environment = {"COLUMNS": "80", "NO_COLOR": "", **environment}
    result = CliRunner().invoke(
        main, list(map(str, args)), env=environment, color=color, prog_name="sockgw"
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
