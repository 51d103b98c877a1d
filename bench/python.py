"""The Python that servers run on, and the virtual environments made of it.

A Python that is built with profiles (`--enable-optimizations`), as those of distributions and
containers are, takes a sixth less time for a message than one built without.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.load import BUILD

__all__ = ["ROOT", "Python", "Venv", "find", "gateway_venv"]

ROOT = Path(__file__).parents[1]
"""This checkout."""

OLDEST, NEWEST = 11, 14
"""The minor versions that are looked for."""

PROBE = """
import json, platform, sys, sysconfig
flags = ("CONFIG_ARGS", "PY_CFLAGS", "PY_CORE_CFLAGS", "PY_CFLAGS_NODIST")
print(json.dumps({
    "path": sys.executable,
    "prefix": sys.base_prefix,
    "version": platform.python_version(),
    "flags": " ".join(str(sysconfig.get_config_var(name)) for name in flags),
    "usable": sys.implementation.name == "cpython" and not hasattr(sys, "gettotalrefcount")
        and not sysconfig.get_config_var("Py_GIL_DISABLED"),
}))
"""


@dataclass(frozen=True, slots=True)
class Python:
    """An interpreter. `profiled` is how it is known to be built with profiles, "" if it is not."""

    path: str
    version: str
    profiled: str

    def __str__(self) -> str:
        if not self.profiled:
            return f"Python {self.version}, built without profiles, which is slower, {self.path}"
        return f"Python {self.version}, built with profiles ({self.profiled}), {self.path}"


@dataclass(frozen=True, slots=True)
class Venv:
    """A virtual environment in `folder`: what pip installs, and the files that decide about it."""

    folder: Path
    packages: tuple[str, ...]
    files: tuple[Path, ...]

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    def install(self) -> None:
        """Make it of the Python found; does nothing if it is up to date.

        Raises `subprocess.CalledProcessError`; the reason is on stderr.
        """
        python = find()
        contents = b"".join(file.read_bytes() for file in self.files)
        stamp, wanted = self.folder / ".installed", hashlib.sha256(contents).hexdigest()
        wanted += f" {python.path} {python.version}"
        if stamp.exists() and stamp.read_text() == wanted:
            return
        # Debian's Python has no ensurepip; the pip of this environment installs for that one too.
        making = [python.path, "-m", "venv", "--clear", "--without-pip", str(self.folder)]
        subprocess.run(making, check=True)
        pip = [sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet"]
        pip += ["--disable-pip-version-check", *self.packages]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        stamp.write_text(wanted)


def gateway_venv(checkout: Path) -> Venv:
    """The environment of a checkout's gateway, in the versions of its own constraints.txt."""
    name = hashlib.sha256(str(checkout.resolve()).encode()).hexdigest()[:8]
    constraints = checkout / "constraints.txt"
    packages = ("--constraint", str(constraints), "--editable", str(checkout))
    return Venv(BUILD / f"gateway-{name}", packages, (checkout / "pyproject.toml", constraints))


@cache
def find() -> Python:
    """The Python for the servers: that of `BENCH_PYTHON`, else one built with profiles, else this.

    Of several, one of this Python's minor version comes first. Raises `RuntimeError` if
    `BENCH_PYTHON` is none that can be used.
    """
    named = os.environ.get("BENCH_PYTHON")
    if named:
        python = _probe(named)
        if python is None:
            raise RuntimeError(f"BENCH_PYTHON is no CPython 3.{OLDEST} or later: {named}")
        return python
    own = _probe(sys.executable)
    assert own is not None
    found = (python for path in _candidates() if (python := _probe(path)))
    return next((python for python in (own, *found) if python.profiled), own)


def _candidates() -> Iterator[str]:
    """The interpreters of this machine; those of this Python's minor version come first."""
    own = sys.version_info.minor
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    folders = [*os.get_exec_path(), "/usr/bin", "/usr/local/bin"]
    folders += map(str, sorted(pyenv.glob("versions/*/bin")))
    for minor in sorted(range(OLDEST, NEWEST + 1), key=lambda minor: (minor != own, minor)):
        for folder in dict.fromkeys(folders):
            path = shutil.which(f"python3.{minor}", path=folder)
            if path:
                yield path


def _probe(path: str) -> Python | None:
    """The interpreter at `path`, or `None` if the gateway cannot run on it."""
    command = [path, "-I", "-c", PROBE]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    facts = json.loads(done.stdout)
    if not facts["usable"] or int(facts["version"].split(".")[1]) < OLDEST:
        return None
    return Python(facts["path"], facts["version"], _profiled(facts["prefix"], facts["flags"]))


def _profiled(prefix: str, flags: str) -> str:
    for flag in ("--enable-optimizations", "-fprofile-use", "-fprofile-instr-use"):
        if flag in flags:
            return flag
    # Debian and Ubuntu build the interpreter with profiles, and the library without; what
    # `sysconfig` reports is how the library was built.
    if prefix == "/usr" and Path("/etc/debian_version").exists():
        return "Debian's"
    return ""
