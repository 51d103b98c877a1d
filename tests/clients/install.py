"""Install the clients of the table, and Bun, Deno and Chromium, which run some of them.

`python -m tests.clients.install` brings `node_modules` and `.installed` to what the lock files
say, and says on stderr what it fetches; a second run fetches nothing. The packages of Bun, Deno
and Chromium hold the programs themselves, so nothing comes from elsewhere.
"""

from __future__ import annotations

import fcntl
import hashlib
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.js import install as npm

__all__ = ["BUN", "CHROMIUM", "DENO", "HERE", "INSTALLED", "PACKAGES", "PYTHONS", "install"]

HERE = Path(__file__).parent
INSTALLED = HERE / ".installed"
PACKAGES = HERE / "node_modules"

PYTHONS = {version: INSTALLED / f"python-socketio-{version}" for version in ("5.0", "5.18")}
"""The folders of python-socketio and what its clients need, by version."""

_OS = platform.system().lower()
_IS_ARM = platform.machine() in {"aarch64", "arm64"}
_BUN = "aarch64" if _IS_ARM else "x64-baseline"  # for processors without AVX2 too
_DENO = ("arm64" if _IS_ARM else "x64") + ("-glibc" if _OS == "linux" else "")

BUN = PACKAGES / f"@oven/bun-{_OS}-{_BUN}/bin/bun"
DENO = PACKAGES / f"@deno/{_OS}-{_DENO}/deno"
CHROMIUM = INSTALLED / "chromium/chromium"
"""A headless Chromium; its libraries are in `lib` beside it."""

# Chromium's package is made for a service that unpacks it at every start; so it is unpacked once.
_UNPACK = """
const fs = require("node:fs");
const { pipeline } = require("node:stream/promises");
const { createBrotliDecompress } = require("node:zlib");

const [from, to, ...names] = process.argv.slice(1);
Promise.all(names.map((name) => pipeline(
  fs.createReadStream(`${from}/${name}.br`),
  createBrotliDecompress(),
  fs.createWriteStream(`${to}/${name}`),
)));
"""
_LIBRARIES = "al2023.tar"


def install() -> None:
    """Bring all clients to what the lock files say; one process installs at a time.

    What fails is tried once more. Raises `subprocess.CalledProcessError` when that fails too; the
    words of npm or pip are on stderr.
    """
    INSTALLED.mkdir(exist_ok=True)
    with (INSTALLED / ".lock").open("w") as file, ThreadPoolExecutor() as pool:
        fcntl.flock(file, fcntl.LOCK_EX)
        list(pool.map(lambda step: step(), [_javascript, *map(_step, PYTHONS)]))


def _javascript() -> None:
    lock = HERE / "package-lock.json"
    _bring(PACKAGES, lock, lambda: npm.install(HERE))
    _bring(CHROMIUM.parent, lock, _chromium)


def _step(version: str) -> Callable[[], None]:
    lock, folder = HERE / f"python-socketio-{version}.txt", PYTHONS[version]
    return lambda: _bring(folder, lock, lambda: _python(lock, folder))


def _bring(folder: Path, lock: Path, fill: Callable[[], None]) -> None:
    """Empty the folder and fill it, unless that was done with this lock."""
    stamp = INSTALLED / f"{folder.name}.stamp"
    made_for = f"{sys.implementation.cache_tag} {platform.platform()}\n"
    wanted = made_for + hashlib.sha256(lock.read_bytes()).hexdigest()
    if folder.exists() and stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"tests/clients/{folder.relative_to(HERE)}: as {lock.name} says", file=sys.stderr)
    try:
        _fill(folder, fill)
    except subprocess.CalledProcessError:
        print(f"tests/clients/{folder.relative_to(HERE)}: failed, once more", file=sys.stderr)
        _fill(folder, fill)
    stamp.write_text(wanted)


def _fill(folder: Path, fill: Callable[[], None]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    fill()


def _python(lock: Path, folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    what = ["--no-deps", "--require-hashes", "--target", folder, "--requirement", lock]
    subprocess.run([*pip, *what], check=True, stdout=sys.stderr)


def _chromium() -> None:
    package, folder = PACKAGES / "@sparticuz/chromium/bin", CHROMIUM.parent
    if _OS != "linux" or _IS_ARM:
        return  # no such package; the one of the machine is used
    names = [CHROMIUM.name, _LIBRARIES]
    subprocess.run([npm.NODE, "-e", _UNPACK, package, folder, *names], check=True)
    (folder / "lib").mkdir()
    with tarfile.open(folder / _LIBRARIES) as archive:
        for member in filter(tarfile.TarInfo.isfile, archive):
            library = archive.extractfile(member)
            assert library is not None
            (folder / "lib" / Path(member.name).name).write_bytes(library.read())
    CHROMIUM.chmod(0o755)


if __name__ == "__main__":
    install()
