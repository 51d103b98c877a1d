"""The charts of `bench.capacity`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.chart import chart
from bench.sizing.model import Constants, most
from bench.sizing.sweeps import Checked
from bench.sizing.tables import CORE, FLEETS, SHARE, fleet

__all__ = ["draw"]


def draw(folder: Path, large: Constants, found: Sequence[Checked]) -> None:
    """Write `capacity-check.svg` and `capacity-fleet.svg`."""
    folder.mkdir(exist_ok=True)
    (folder / "capacity-check.svg").write_text(_check(found))
    (folder / "capacity-fleet.svg").write_text(_fleet(large))


def _check(found: Sequence[Checked]) -> str:
    """A message to a room that touches every member, alone in its write."""
    found = [each for each in found if each.batch == 1 and each.touched == each.members]
    lines = {
        "members, predicted": [(each.members, each.predicted) for each in found],
        "members, measured": [(each.members, each.measured) for each in found],
        "Redis, predicted": [(each.members, each.broker_predicted) for each in found],
        "Redis, measured": [(each.members, each.broker_measured) for each in found],
    }
    return chart("CPU of a message to a room, microseconds", lines, "members")


def _fleet(constants: Constants) -> str:
    """What clusters of all sizes take, by what is full first."""
    fleets = {(size, by): fleet(size, by_room=by) for size in FLEETS for by in (False, True)}
    found = {key: most(constants, each, CORE, SHARE) for key, each in fleets.items()}
    lines = {
        "members' CPU": [(size, found[size, False]["members"]) for size in FLEETS],
        "Redis' core": [(size, found[size, False]["Redis"]) for size in FLEETS],
        "members, by room": [(size, found[size, True]["members"]) for size in FLEETS],
        "Redis, by room": [(size, found[size, True]["Redis"]) for size in FLEETS],
    }
    lines = {name: [each for each in line if each[1] > 0] for name, line in lines.items()}
    return chart("Messages a second to rooms of ten, by what is full then", lines, "members")
