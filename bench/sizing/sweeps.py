"""Sweeps: every point, and what the constants come from, a little of each in turn.

A machine that is slow for a second is slow for both, so each sweep predicts its own points; what
counts is the median of all sweeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.sizing.broker import Brokered, fitted
from bench.sizing.members import members
from bench.sizing.model import Constants, Cost, room
from bench.sizing.points import Place, Point
from tests.programs.redis import redis

__all__ = ["MANY", "Checked", "Fitted", "Rig", "Sweep", "checked", "rig"]

MANY = 16
"""Messages in one write, when there are many."""

CROWD = 10
"""Sockets with which a delivery is measured."""

LEAST = 40
"""Turns at least."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """The constants of the bus, from one sweep; see `Constants`."""

    emit: Cost
    deliver: Cost
    publish: Cost
    receive: Cost
    broker: Cost
    subscriber: Cost


@dataclass(frozen=True, slots=True)
class Sweep:
    """Points of a member alone, of two and of the most with nobody in the room, and all others."""

    alone: list[Point]
    pair: list[Point]
    most: list[Point]
    points: list[Point]

    def fitted(self) -> Fitted:
        """The constants that this sweep gives."""
        alone = {(each.sockets, each.batch): each.sender for each in self.alone}
        pair = {each.batch: each for each in self.pair}
        emit = Cost.fitted(alone[0, 1], alone[0, MANY], MANY)
        publish = (max(0.0, pair[batch].sender - emit.of(batch)) for batch in (1, MANY))
        receive = (pair[batch].elsewhere for batch in (1, MANY))
        slopes = [max(0.0, alone[CROWD, b] - alone[0, b]) / CROWD for b in (1, MANY)]
        deliver = Cost.fitted(*slopes, MANY)
        costs = (Cost.fitted(*each, MANY) for each in (publish, receive))
        brokered = [Brokered(p.members, p.batch, p.broker) for p in (*self.pair, *self.most)]
        return Fitted(emit, deliver, *costs, *fitted(brokered))


@dataclass(frozen=True, slots=True)
class Checked:
    """A prediction and what was measured: microseconds for each message, medians of all sweeps.

    The errors are the medians of the sweeps' own.
    """

    members: int
    touched: int
    batch: int
    predicted: float
    measured: float
    error: float
    broker_predicted: float
    broker_measured: float
    broker_error: float


class Rig:
    """Everything that a sweep needs, running."""

    def __init__(self, alone: Place, places: Sequence[Place]) -> None:
        self._alone, self._places = alone, places

    def rest(self, seconds: float) -> None:
        """See what members take while they do nothing."""
        for place in (self._alone, *self._places):
            place.rest(seconds)

    def sweep(self, batches: Sequence[int], turns: int) -> Sweep:
        """Measure each point, with `turns` of one message, and fewer of several."""

        def points(place: Place, rooms: Sequence[str], sizes: Sequence[int]) -> list[Point]:
            return [
                place.point(room, batch, max(LEAST, turns // batch))
                for room in rooms
                for batch in sizes
            ]

        return Sweep(
            points(self._alone, ("nobody", "all"), (1, MANY)),
            *(points(self._places[at], ("nobody",), (1, MANY)) for at in (0, -1)),
            [each for place in self._places for each in points(place, [*place.rooms], batches)],
        )


@asynccontextmanager
async def rig(folder: Path, counts: Sequence[int], each: int) -> AsyncIterator[Rig]:
    """Start clusters of so many members, each with a Redis of its own, and a member alone."""
    async with AsyncExitStack() as stack:
        alone = await stack.enter_async_context(members(folder / "alone", 1, None))
        places = [await asyncio.to_thread(Place, alone, None, CROWD, {"all": 1})]
        for count in counts:
            server = await stack.enter_async_context(redis())
            made = await stack.enter_async_context(members(folder / str(count), count, server))
            rooms = {f"room-{touched}": touched for touched in sorted({1, count // 2, count})}
            places.append(await asyncio.to_thread(Place, made, server, each, rooms))
        for place in places:
            stack.enter_context(closing(place))
        yield Rig(places[0], places[1:])


def checked(sweeps: Sequence[Sweep], constants: Callable[[Fitted], Constants]) -> list[Checked]:
    """Compare what each sweep measured with what its constants predict."""
    return [
        _checked([(constants(sweep.fitted()), sweep.points[at]) for sweep in sweeps])
        for at in range(len(sweeps[0].points))
    ]


def _checked(found: Sequence[tuple[Constants, Point]]) -> Checked:
    load = found[0][1].load
    rooms = [room(constants, load) for constants, _ in found]
    predicted, measured = [each.members(load) for each in rooms], [each.all for _, each in found]
    broker, brokered = [each.broker for each in rooms], [each.broker for _, each in found]
    return Checked(
        int(load.members),
        int(load.touched),
        int(load.batch),
        *_compared(predicted, measured),
        *_compared(broker, brokered),
    )


def _compared(predicted: Sequence[float], measured: Sequence[float]) -> Iterator[float]:
    """Medians, and the median error."""
    yield median(predicted)
    yield median(measured)
    yield median(one / other for one, other in zip(predicted, measured, strict=True)) - 1
