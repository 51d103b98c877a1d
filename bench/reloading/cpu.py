"""CPU used by the daemon, by this client, and by others that disturb the measurement."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["Cpu", "since"]

TICKS = os.sysconf("SC_CLK_TCK")

Cpu = Mapping[str, float]
"""Cores used by `daemon`, `client` and `others`, the mean over `seconds`."""


def since(pids: Iterable[int], former: Cpu | None = None) -> Cpu:
    """CPU used since `former`, the result of a call without it; `pids` are the daemon's."""
    now = {
        "seconds": time.perf_counter(),
        "client": time.process_time(),
        "daemon": sum(map(_process, pids)),
    }
    now["others"] = _machine() - now["client"] - now["daemon"]
    if former is None:
        return now
    seconds = now["seconds"] - former["seconds"]
    used = {who: (now[who] - former[who]) / seconds for who in ("daemon", "client", "others")}
    return {"seconds": seconds, **used}


def _process(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS  # with the children that it has waited for


def _machine() -> float:
    user, nice, system, _, _, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    )
    return (user + nice + system + irq + softirq) / TICKS
