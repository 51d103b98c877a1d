"""The charts of `bench.capacity`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.chart import chart
from bench.sizing.model import Constants, Load, most, room
from bench.sizing.sweeps import Checked
from bench.sizing.tables import CORE, FLEETS, SHARE, fleet

__all__ = ["draw"]

SIZES = (2, 4, 8, 16, 32, 64)
"""Members for which a message is predicted."""


def draw(
    folder: Path, constants: Constants, large: Constants, found: Sequence[Checked], each: int
) -> None:
    """Write `capacity-check.svg` and `capacity-fleet.svg`; rooms had `each` socket on a member."""
    folder.mkdir(exist_ok=True)
    (folder / "capacity-check.svg").write_text(_check(constants, found, each))
    (folder / "capacity-fleet.svg").write_text(_fleet(large))


def _check(constants: Constants, found: Sequence[Checked], each: int) -> str:
    """A message to a room that touches every member, alone in its write."""
    found = [one for one in found if one.batch == 1 and one.touched == one.members]
    rooms = {size: Load(size, size, size * each) for size in SIZES}
    predicted = {size: (room(constants, load), load) for size, load in rooms.items()}
    lines = {
        "members, predicted": [(n, one.members(load)) for n, (one, load) in predicted.items()],
        "members, measured": [(one.members, one.measured) for one in found],
        "Redis, predicted": [(n, one.broker) for n, (one, _) in predicted.items()],
        "Redis, measured": [(one.members, one.broker_measured) for one in found],
    }
    title = f"Microseconds of CPU for a message to a room with {each} sockets on each member"
    return chart(title, lines, "members")


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
