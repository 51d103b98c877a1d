"""The times of hostile cases are measured for all of them; none of them is looked at."""

from __future__ import annotations

from pathlib import Path

from tests.bench.run_bench import figures_of


def test_every_case_ends_as_its_table_says(tmp_path: Path) -> None:
    found = figures_of(tmp_path / "figures.json", "bench.hostile", "--rounds", "1")
    assert len(found) > 400
    assert {len(times) for times in found.values()} == {1}
