"""Flood a gateway, and see who suffers: `python -m bench.floods`.

Flooders send as fast as loopback takes. Somebody else calls meanwhile, and newcomers connect. Each
of them is a process of its own. `--against` measures another revision in the same run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.checkouts import checkout, this
from bench.flooding.bodies import Stall, cases, measure_body
from bench.flooding.cells import Cell, measure
from bench.flooding.costs import RATES, Cost, cost_of_body, cost_of_rate
from bench.flooding.gateway import Program, program_of
from bench.flooding.kinds import KINDS
from bench.flooding.tables import costs_table, floods_table, stalls_table
from bench.results import write_json

__all__ = ["Floods", "failures", "main"]

PARTS = ("floods", "bodies", "costs")
TRANSPORTS = ("websocket", "polling")


@dataclass(slots=True)
class Floods:
    """Everything measured. `revisions` are those of the gateways, as git describes them."""

    revisions: dict[str, str]
    cells: list[Cell] = field(default_factory=list)
    stalls: list[Stall] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)


def main() -> None:
    """Measure what the command line asks for, print tables, write JSON.

    Exits with 1 if this checkout fails a bar.
    """
    options = _options()
    try:
        checkouts = [this(), *map(checkout, options.against)]
        programs = [program_of(each) for each in checkouts]
        floods = Floods({each.name: each.revision for each in checkouts})
        _measure(floods, programs, options)
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"bench: {error}")
    print(_report(floods))
    if options.json:
        write_json(options.json, floods)
    raise SystemExit(any(True for _ in failures(floods)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.floods", description=__doc__)
    parser.add_argument("--against", nargs="+", metavar="REV", default=[], help="or a checkout")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    known = ", ".join(KINDS)
    parser.add_argument(
        "--only", nargs="+", metavar="KIND", default=list(KINDS), choices=KINDS, help=known
    )
    parser.add_argument("--on", nargs="+", choices=TRANSPORTS, default=TRANSPORTS)
    parser.add_argument("--flooders", nargs="+", type=int, default=[1, 4], metavar="COUNT")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a flood")
    parser.add_argument("--times", type=int, default=1, help="each flood is measured")
    parser.add_argument("--rounds", type=int, default=3, help="each body is sent")
    parser.add_argument("--json", type=Path, metavar="FILE", help="for everything measured")
    return parser.parse_args()


def _measure(floods: Floods, programs: Sequence[Program], options: argparse.Namespace) -> None:
    if "floods" in options.part:
        for kind in options.only:
            for on in options.on:
                if KINDS[kind].runs_on(on):
                    _flood(floods, programs, kind, on, options)
    if "bodies" in options.part:
        for body, on in cases():
            for program in programs:
                stall = measure_body(program, body, on, options.rounds)
                floods.stalls.append(stall)
                _say(stall.gateway, body, on, *map(_ms, stall.seconds))
    if "costs" in options.part:
        for program in programs:
            costs = [cost_of_rate(program, rate, options.seconds) for rate in RATES]
            costs.append(cost_of_body(program))
            floods.costs += costs
            _say(*(f"{cost.title}: {cost.share:.0%} of a core" for cost in costs))


def _flood(
    floods: Floods, programs: Sequence[Program], kind: str, on: str, options: argparse.Namespace
) -> None:
    for count in options.flooders:
        for _ in range(options.times):
            for program in programs:  # in turn: a busy minute is everybody's
                cell = measure(program, kind, on, count, options.seconds)
                floods.cells.append(cell)
                words = (cell.gateway, kind, on, f"x{count}", _ms(cell.worst), *cell.failures)
                _say(*words)


def _say(*words: str) -> None:
    print("  ".join(words), file=sys.stderr, flush=True)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms"


def failures(floods: Floods) -> Iterable[str]:
    """The bars that this checkout does not reach."""
    for cell in floods.cells:
        if cell.gateway == "this":
            for failure in cell.failures:
                yield f"{cell.kind}, {cell.flooders} on {cell.transport}: {failure}"
    for stall in floods.stalls:
        if stall.gateway == "this":
            for failure in stall.failures:
                yield f"1 MB of {stall.body} on {stall.transport}: {failure}"


def _report(floods: Floods) -> str:
    runs: list[Cell | Stall | Cost] = [*floods.cells, *floods.stalls, *floods.costs]
    load = [each.load for each in runs] or [0.0]
    loads = f"{min(load):.1f} to {max(load):.1f}, in the median {median(load):.1f}"
    parts = (
        floods_table(floods.cells),
        stalls_table(floods.stalls),
        costs_table(floods.costs),
        ", ".join(f"{name}: {revision}" for name, revision in floods.revisions.items()),
        f"{os.cpu_count()} cores, load average {loads}",
        "\n".join(failures(floods)) or "every bar is reached",
    )
    return "\n\n".join(filter(None, parts))


if __name__ == "__main__":
    main()
