"""The files that ship sockgw, and the programs that check them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import click

from gateway.cli import main
from gateway.config.model import ReloadConfig
from gateway.daemon.process import PATIENCE
from gateway.daemon.shutdown import CHAINS
from gateway.engineio.transports import CLOSE_LIMIT

__all__ = [
    "DEPLOY",
    "LONGEST_STOP",
    "PROGRAMS",
    "ROOT",
    "checked",
    "copied",
    "open_folder",
    "parsed",
]

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PROGRAMS = Path(sys.executable).parent

SERVICE = 10.0
"""Seconds that a service has to close."""

_TIMES = ReloadConfig()
LONGEST_STOP = _TIMES.drain + _TIMES.close_window + CLOSE_LIMIT + CHAINS + SERVICE + 2 * PATIENCE
"""Seconds that a stop takes with the default times and one service."""


def checked(program: str, *arguments: str | Path) -> str:
    """Run an installed program that must succeed; gives what it has written to stdout."""
    done = subprocess.run(
        [PROGRAMS / program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def parsed(command: str | Sequence[str]) -> str:
    """Parse the command line of `sockgw`; gives its verb. Raises `click.UsageError`."""
    words = shlex.split(command) if isinstance(command, str) else list(command)
    assert Path(words[0]).name == "sockgw"
    parent = click.Context(main, **main.context_settings)
    with main.commands[words[1]].make_context(words[1], words[2:], parent):
        return words[1]


def copied(names: Sequence[str], folder: Path) -> None:
    """Copy files and folders of the repository."""
    for name in names:
        if (ROOT / name).is_dir():
            copytree(ROOT / name, folder / name, ignore=ignore_patterns("__pycache__"))
        else:
            copy(ROOT / name, folder / name)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that other users can enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)
