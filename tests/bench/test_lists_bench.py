"""Lists are read to their end by the bench; how long that takes is not looked at."""

from __future__ import annotations

from pathlib import Path

from tests.bench.run_bench import figures_of


def test_all_sockets_and_rooms_are_listed(tmp_path: Path) -> None:
    found = figures_of(tmp_path / "figures.json", "bench.lists", "--sockets", "1020")
    assert {name: (each["names"], each["pages"]) for name, each in found.items()} == {
        "sockets": (1020, 3),
        "rooms": (1020, 3),
    }
    assert all(each["wall"] >= 0 < each["cpu"] for each in found.values())
