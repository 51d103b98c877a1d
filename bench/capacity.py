"""Measure what members take, and what a cluster of any size will: `python -m bench.capacity`.

The constants of a model are measured with members that have nobody in the room. Its predictions
are checked against rooms on two, four and eight, by CPU time: each error has to be below a fifth.
Then it is carried to clusters that do not fit here.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from statistics import median

from bench.buses.parts import parts
from bench.buses.sides import SENDS, encoded
from bench.results import machine, write_json
from bench.sizing.broker import BATCH, Brokered, Subscribers, beats, fitted
from bench.sizing.charts import draw
from bench.sizing.members import members
from bench.sizing.model import Constants, Cost
from bench.sizing.sockets import idle, sockets
from bench.sizing.sweeps import Checked, Fitted, Sweep, checked, rig
from bench.sizing.tables import texts
from tests.programs.redis import PROGRAM, Redis, redis

__all__ = ["Found", "Plan", "main"]

PARTS = 20_000


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a run.

    Clusters of `members` have rooms with `each` socket on the members that these touch. In each of
    the `sweeps`, `turns` is how often one message is sent. `subscribers` are connections to Redis
    that stand for the members of large clusters; the constants for those come from the last two.
    `count` sockets are weighed, and `linked` members watched for `seconds` while they do nothing:
    that is done `times`, and the least counts.
    """

    sweeps: int = 20
    members: tuple[int, ...] = (2, 4, 8)
    batches: tuple[int, ...] = (1, BATCH)
    each: int = 10
    turns: int = 60
    subscribers: tuple[int, ...] = (250, 1000)
    count: int = 1500
    linked: int = 8
    seconds: float = 6.0
    times: int = 1


FULL = Plan()
QUICK = Plan(1, (2, 4), (1,), 5, 10, (20, 40), 100, 2, 0.5, 1)


@dataclass(slots=True)
class Found:
    """Everything measured. `large` are the constants of clusters with many members."""

    machine: dict[str, str] = field(default_factory=machine)
    figures: dict[str, float] = field(default_factory=dict)
    brokered: list[Brokered] = field(default_factory=list)
    checked: list[Checked] = field(default_factory=list)
    constants: Constants | None = None
    large: Constants | None = None


def main() -> None:
    """Measure, print tables, draw charts, write JSON."""
    options = _options()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    PROGRAM.install()
    plan = QUICK if options.quick else FULL
    found = asyncio.run(_measured(replace(plan, sweeps=options.sweeps or plan.sweeps)))
    assert found.constants is not None
    assert found.large is not None
    print("\n\n".join(texts(found.constants, found.large, found.checked)))
    print(f"\n{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
    if options.json:
        write_json(options.json, found)
    if options.charts:
        draw(options.charts, found.constants, found.large, found.checked, plan.each)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="all of it small, half a minute")
    parser.add_argument("--sweeps", type=int, help="over all points; their median counts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="for everything measured")
    parser.add_argument("--charts", type=Path, metavar="FOLDER", help="for the charts")
    return parser.parse_args()


async def _measured(plan: Plan) -> Found:
    found = Found()
    with tempfile.TemporaryDirectory() as root:
        for number in range(plan.times):
            print(f"weighing {number + 1} of {plan.times}", file=sys.stderr, flush=True)
            await _weigh(plan, found, Path(root, f"weighed-{number}"))
        sweeps = [each async for each in _sweeps(plan, Path(root))]
    fits = [each.fitted() for each in sweeps]
    found.checked = checked(sweeps, partial(_constants, found.figures))
    found.constants = _constants(found.figures, _medians(fits))
    few, many = plan.subscribers[-2:]
    least = [_least(found.brokered, count) for count in (few, many)]
    _, subscriber = fitted([each for pair in least for each in pair])
    found.large = replace(found.constants, subscriber=subscriber)
    return found


async def _sweeps(plan: Plan, folder: Path) -> AsyncIterator[Sweep]:
    async with rig(folder, plan.members, plan.each) as running:
        await asyncio.to_thread(running.sweep, plan.batches, plan.turns)  # warms up
        await asyncio.to_thread(running.rest, plan.seconds)
        for number in range(plan.sweeps):
            yield await asyncio.to_thread(running.sweep, plan.batches, plan.turns)
            print(f"sweep {number + 1} of {plan.sweeps}", file=sys.stderr, flush=True)


async def _weigh(plan: Plan, found: Found, folder: Path) -> None:
    """Measure everything that is no sweep's."""
    _keep(found, await parts(PARTS), 1e6 / PARTS)
    _keep(found, await sockets(folder / "sockets", plan.count))
    async with redis() as server:
        for count in plan.subscribers:
            found.brokered += await asyncio.to_thread(_brokered, server, count, plan.turns)
        async with members(folder / "beats", 1, server) as (member,):
            _keep(found, {"beat": await beats(member, server, 1)}, 1e6)
        for listen in (False, True):
            name = "linked" if listen else "idle"
            used = await idle(folder / name, plan.linked, server, plan.seconds, listen=listen)
            _keep(found, {name: used})


def _brokered(server: Redis, count: int, turns: int) -> list[Brokered]:
    with closing(Subscribers(server, count)) as subscribers:
        return [subscribers.cost(batch, max(4, turns // batch)) for batch in (1, BATCH)]


def _keep(found: Found, figures: dict[str, float], factor: float = 1.0) -> None:
    """Keep the least of each figure."""
    for name, figure in figures.items():
        found.figures[name] = min(figure * factor, found.figures.get(name, figure * factor))


def _least(brokered: Sequence[Brokered], count: int) -> Iterator[Brokered]:
    for batch in (1, BATCH):
        alike = [each for each in brokered if (each.subscribers, each.batch) == (count, batch)]
        yield min(alike, key=lambda each: each.us)


def _medians(fits: Sequence[Fitted]) -> Fitted:
    def middle(name: str) -> Cost | float:
        values = [getattr(each, name) for each in fits]
        if isinstance(values[0], Cost):
            return Cost(median(each.write for each in values), median(each.each for each in values))
        return median(values)

    return Fitted(*(middle(each.name) for each in fields(Fitted)))


def _constants(figures: dict[str, float], fit: Fitted) -> Constants:
    alike = ("call", "connect", "heartbeat", "polled", "beat", "idle")
    alike += ("process", "socket", "polling", "membership")
    return Constants(
        **{each.name: getattr(fit, each.name) for each in fields(fit)},
        **{name: figures[name] for name in alike},
        encode=figures["deliver to nobody"],
        link=max(0.0, figures["linked"] - figures["idle"]) / max(1, FULL.linked - 1),
        message=float(len(encoded(SENDS))),
    )


if __name__ == "__main__":
    main()
