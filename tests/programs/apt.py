"""The proxies that tests run: those of this machine, or else Debian's, unpacked in this folder.

`python -m tests.programs.apt` fetches what is missing, with the libraries that it needs, and says
so on stderr; a second run fetches nothing. It takes no root, and changes nothing outside.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["PROXIES", "environ", "install", "program"]

PROXIES = ("nginx", "haproxy")
"""Programs, each of a package of its name."""

INSTALLED = Path(__file__).parent / ".installed/apt"
ROOT = INSTALLED / "root"
"""What the packages hold, as it would be under `/`."""

_WORK = INSTALLED / "work"  # lists of packages, and packages
_OPTIONS = (
    f"Dir::State::lists={_WORK}/lists",
    f"Dir::Cache={_WORK}/cache",
    "Debug::NoLocking=1",  # nothing is shared with the apt of the machine
    "Acquire::Retries=3",
    "APT::Sandbox::User=",  # another user may have no way into this folder
)
_FOLDERS = ("usr/sbin", "usr/bin", "usr/local/sbin")


def program(name: str) -> Path:
    """The path of a program. Raises `LookupError` if there is none."""
    folders = [*os.get_exec_path(), *(f"/{each}" for each in _FOLDERS)]
    for root in ("", ROOT):
        found = shutil.which(name, path=os.pathsep.join(f"{root}{each}" for each in folders))
        if found:
            return Path(found)
    raise LookupError(f"there is no {name}: run make test, or install it")


def environ() -> dict[str, str]:
    """The environment in which the programs find their libraries."""
    folders = sorted({str(each.parent) for each in ROOT.rglob("*.so*")})
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(folders)}


def install() -> None:
    """Bring the programs that are missing; one process installs at a time.

    Raises `subprocess.CalledProcessError` when apt or dpkg fails, whose words are on stderr, and
    `LookupError` on a system without apt.
    """
    INSTALLED.mkdir(parents=True, exist_ok=True)
    with (INSTALLED / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        stamp = INSTALLED / "stamp"
        if not (stamp.exists() and stamp.read_text() == platform.platform()):
            shutil.rmtree(ROOT, ignore_errors=True)  # made on another machine, or half made
        if missing := [name for name in PROXIES if _is_missing(name)]:
            print(f"tests/programs: fetches {' and '.join(missing)}", file=sys.stderr)
            stamp.unlink(missing_ok=True)
            _fetch(missing)
            stamp.write_text(platform.platform())


def _is_missing(name: str) -> bool:
    try:
        program(name)
    except LookupError:
        return True
    return False


def _fetch(packages: list[str]) -> None:
    if shutil.which("apt-get") is None:
        raise LookupError(f"there is no apt-get to fetch {' and '.join(packages)}: install them")
    shutil.rmtree(_WORK, ignore_errors=True)
    for folder in ("lists/partial", "cache/archives/partial"):
        (_WORK / folder).mkdir(parents=True)
    _run("apt-get", "update")
    _run("apt-get", "install", "--download-only", "--yes", "--no-install-recommends", *packages)
    for package in sorted((_WORK / "cache/archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "--extract", package, ROOT], check=True, stdout=sys.stderr)
    shutil.rmtree(_WORK)


def _run(apt: str, *arguments: str) -> None:
    options = [word for option in _OPTIONS for word in ("-o", option)]
    subprocess.run([apt, "-qq", *options, *arguments], check=True, stdout=sys.stderr)


if __name__ == "__main__":
    install()
