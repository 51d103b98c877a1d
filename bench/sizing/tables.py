"""The tables of `bench.capacity`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields

from bench.flooding.tables import markdown
from bench.sizing.model import Constants, Cost, Fleet, Needs, most, needs
from bench.sizing.sweeps import Checked

__all__ = ["BAR", "FLEETS", "capacity", "fleet", "texts"]

BAR = 0.2
"""The error that a prediction may have."""

FLEETS = (2, 8, 32, 100, 250, 500, 1000)
"""Members of the clusters that are carried to, with 10,000 sockets on each."""

CHECKED = (
    *("members", "touched", "in a write"),
    *("members, us", "measured", "error", "Redis, us", "measured", "error"),
)
CORE, SHARE = 0.8, 0.4
"""Cores that Redis may use, and those of each member that may go into the bus."""

BATCH = 16
"""Messages in a write, as they come together when there are many."""

BYTES = ("process", "socket", "polling", "membership", "message")


def fleet(members: int, *, by_room: bool = False) -> Fleet:
    """A busy cluster of a size: 10,000 sockets on a member, rooms of ten, writes of 16 messages.

    Each socket calls once in 50 s, and sends a message to a room once in 500 s.
    """
    sockets = 10_000.0 * members
    return Fleet(sockets, members, sockets / 500, batch=BATCH, by_room=by_room)


def capacity(constants: Constants, members: int, *, by_room: bool = False) -> tuple[float, str]:
    """The messages to rooms that such a cluster takes in a second, and what is full then."""
    found = most(constants, fleet(members, by_room=by_room), CORE, SHARE)
    name = min(found, key=lambda each: found[each])
    return found[name], name


def texts(constants: Constants, large: Constants, found: Sequence[Checked]) -> Iterator[str]:
    """The constants, the predictions and their errors, and what breaks first."""
    yield markdown(("constant", "", "with many members"), list(_constants(constants, large)))
    yield markdown(
        CHECKED,
        [_row(each) for each in found],
    )
    worst = [max(abs(each) for each in errors) for errors in _errors(found)]
    is_met = max(worst) < BAR
    yield (
        f"the largest error is {worst[0]:.0%} of the members and {worst[1]:.0%} of Redis: "
        f"{'within' if is_met else 'beyond'} the bar of {BAR:.0%}"
    )
    carried = {size: needs(large, fleet(size)) for size in FLEETS}
    yield markdown(("cores", *map(str, FLEETS)), list(_carried(carried)))
    yield markdown(("messages to rooms a second", *map(str, FLEETS)), list(_most(large)))


def _constants(constants: Constants, large: Constants) -> Iterator[Sequence[str]]:
    for each in fields(constants):
        one, many = getattr(constants, each.name), getattr(large, each.name)
        yield each.name, _told(each.name, one), "" if one == many else _told(each.name, many)


def _told(name: str, value: Cost | float) -> str:
    if isinstance(value, Cost):
        return f"{value.each:.2f} us, and {value.write:.2f} a write"
    return f"{value:,.0f} bytes" if name in BYTES else f"{value:.2f} us"


def _errors(found: Sequence[Checked]) -> tuple[list[float], list[float]]:
    """Those of the members, and those of Redis."""
    return [each.error for each in found], [each.broker_error for each in found]


def _row(each: Checked) -> Sequence[str]:
    return (
        *(str(each.members), str(each.touched), str(each.batch)),
        *(f"{each.predicted:.0f}", f"{each.measured:.0f}", f"{each.error:+.0%}"),
        *(f"{each.broker_predicted:.1f}", f"{each.broker_measured:.1f}"),
        f"{each.broker_error:+.0%}",
    )


def _most(constants: Constants) -> Iterator[Sequence[str]]:
    for by_room, name in ((False, "as it is"), (True, "with channels by room")):
        found = [capacity(constants, size, by_room=by_room) for size in FLEETS]
        yield name, *(f"{count:,.0f}: {what}" for count, what in found)


def _carried(carried: dict[int, Needs]) -> Iterator[Sequence[str]]:
    first = next(iter(carried.values()))
    for name in first.member:
        yield (f"member, {name}", *(f"{each.member[name]:.2f}" for each in carried.values()))
    for name in first.broker:
        yield (f"Redis, {name}", *(f"{each.broker[name]:.2f}" for each in carried.values()))
    yield ("Redis sends, MB/s", *(f"{each.sent / 1e6:,.0f}" for each in carried.values()))
    yield ("memory of a member, MB", *(f"{each.memory / 1e6:,.0f}" for each in carried.values()))
    yield ("descriptors of a member", *(f"{each.connections:,}" for each in carried.values()))
