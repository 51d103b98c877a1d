"""The charts of `bench.capacity`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.chart import chart
from bench.sizing.model import Constants, needs
from bench.sizing.sweeps import Checked
from bench.sizing.tables import FLEETS, fleet

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
    """What each member and Redis take in clusters of all sizes."""
    carried = [(size, needs(constants, fleet(size))) for size in FLEETS]
    lines = {
        "Redis, messages": [(size, each.broker["messages"]) for size, each in carried],
        "Redis, beats": [(size, each.broker["beats"]) for size, each in carried],
        "member, bus": [(size, each.member["bus"]) for size, each in carried],
        "member, own sockets": [
            (
                size,
                sum(each.member[name] for name in ("connections", "pings", "calls", "deliveries")),
            )
            for size, each in carried
        ],
        "member, links": [(size, each.member["links"]) for size, each in carried],
    }
    return chart("Cores, by members with 10,000 sockets each", lines, "members")
