"""What the system says of a server's processes: its family, their memory, their CPU time."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

__all__ = ["cpu", "family", "held"]


def family(pid: int) -> list[int]:
    """A process and those that it started, and those that they did."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            parent = stat.read_text().rpartition(")")[2].split()[1]
            children.setdefault(int(parent), []).append(int(stat.parent.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def held(pid: int) -> dict[str, int]:
    """Bytes of memory: all of it, `rss`; its share, `pss`; that it shares with nobody, `private`.

    https://docs.kernel.org/filesystems/proc.html
    """
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    sizes = {
        name: int(size) * 1024 for name, size in re.findall(r"^(\w+): +(\d+) kB", rollup, re.M)
    }
    private = sizes["Private_Clean"] + sizes["Private_Dirty"]
    return {"rss": sizes["Rss"], "pss": sizes["Pss"], "private": private}


def cpu(pids: Iterable[int]) -> float:
    """Seconds of CPU time that the threads of some processes have used."""
    tasks = (task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir())
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
