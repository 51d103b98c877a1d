"""What a message over the bus costs is measured for each way; how much that is is not looked at."""

from __future__ import annotations

from pathlib import Path

from bench.buses.sides import SIDES
from tests.bench.run_bench import figures_of


def test_each_way_sends_and_receives(tmp_path: Path) -> None:
    options = ("--messages", "70", "--rounds", "1")
    found = figures_of(tmp_path / "figures.json", "bench.bus", *options)
    costs = {(each["side"], each["batch"]): each for each in found["costs"]}
    assert costs.keys() == {(side, batch) for side in SIDES for batch in (1, 64)}
    assert all(each["receive"] > 0 for each in costs.values())
    assert all(us > 0 for us in found["parts"].values())
