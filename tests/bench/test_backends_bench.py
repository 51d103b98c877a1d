"""The bench of backends, small: every call is answered; its times are not looked at."""

from __future__ import annotations

from pathlib import Path

from tests.bench.run_bench import figures_of


def test_both_kinds_of_calls_and_the_floor_are_measured(tmp_path: Path) -> None:
    options = ("--calls", "100", "--rounds", "2")
    found = figures_of(tmp_path / "figures.json", "bench.backends", *options)
    assert {name: len(rounds) for name, rounds in found.items()} == {
        "plugin": 2,
        "backend": 2,
        "aiohttp": 2,
    }
