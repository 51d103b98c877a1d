"""Who else may change what runs here."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from gateway.config.model import GatewayConfig

__all__ = ["is_writable_by_others", "warn_of_writable", "writable_plugins"]

log = logging.getLogger("sockgw.server")


def is_writable_by_others(path: Path) -> bool:
    """Whether any user of this machine may change a file, or what stands in a folder."""
    try:
        return bool(path.stat().st_mode & stat.S_IWOTH)
    except OSError:
        return False


def writable_plugins(folder: Path) -> Iterator[Path]:
    """A plugin folder, and what of it is code, as far as others may change it."""
    if is_writable_by_others(folder):
        yield folder
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__pycache__")))
        names = sorted([*folders, *(name for name in files if name.endswith(".py"))])
        yield from (path for name in names if is_writable_by_others(path := Path(root, name)))


def warn_of_writable(config: GatewayConfig) -> None:
    """Log a line when others may write plugins."""
    found = [path for folder, _ in config.plugins for path in writable_plugins(folder)]
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        log.warning("any user may write %s%s, which runs as you: chmod -R o-w", found[0], more)
