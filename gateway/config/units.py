"""Durations and sizes as people write them, `25s` and `64KB`; the schema refuses all others."""

from __future__ import annotations

import re

__all__ = ["byte_count", "seconds"]

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {"KB": 1_000, "MB": 1_000_000}
_WRITTEN = re.compile(r"([0-9.]+)([a-zA-Z]*)")


def seconds(written: str | float) -> float:
    """`500ms`, `25s`, `20m` or `1h` in seconds; a number is seconds already."""
    return _times(written, _SECONDS)


def byte_count(written: str | float) -> int:
    """`64KB` or `1MB` in bytes, 1 KB being 1000; a number is bytes already."""
    return round(_times(written, _BYTES))


def _times(written: str | float, units: dict[str, float] | dict[str, int]) -> float:
    found = _WRITTEN.fullmatch(str(written))
    if isinstance(written, str) and found:
        return float(found[1]) * units.get(found[2], 1)
    return float(written)
