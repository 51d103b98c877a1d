"""Count the instructions that sockgw runs for each message: `python -m bench.instructions`.

The works are fixed and nothing is timed, so another process on the machine does not show; a change
of a hundredth does. `--against` counts another checkout in the same run and prints the ratios.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from bench.checkouts import Checkout, checkout, this
from bench.counters import COUNTERS, Counter, best
from bench.lockstep import WORKS, Work
from bench.peers import Peer, Shape
from bench.python import find, gateway_venv
from bench.report import grid
from bench.results import write_json
from bench.trial import Bench

__all__ = ["count", "main"]

REST = 0.5
"""Seconds without CPU time after which a process is at rest."""


@dataclass(slots=True)
class Counts:
    """Instructions a message, each time they were counted, by checkout and work.

    `revisions` are the checkouts', as git describes them.
    """

    counter: str
    python: str
    revisions: dict[str, str] = field(default_factory=dict)
    counts: dict[str, dict[str, list[float]]] = field(default_factory=dict)


def main() -> None:
    """Count what the command line asks for, print the table, write JSON."""
    options = _options()
    try:
        counter = COUNTERS[options.counter]() if options.counter else best()
        checkouts = [this()]
        if options.against:
            checkouts.append(checkout(options.against))
        counts = Counts(counter.name, str(find()))
        for each in checkouts:
            counts.revisions[each.name] = each.revision
            counts.counts[each.name] = {
                name: _count(counter, each, WORKS[name], options.times) for name in options.only
            }
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"bench: {error}")
    print(_report(counts))
    if options.json:
        write_json(options.json, counts)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description=__doc__)
    parser.add_argument("--against", metavar="REV", help="a revision, or the folder of a checkout")
    known = ", ".join(WORKS)
    parser.add_argument(
        "--only", nargs="+", choices=WORKS, default=list(WORKS), metavar="WORK", help=f"of {known}"
    )
    parser.add_argument("--times", type=int, default=2, help="each work is counted")
    parser.add_argument("--counter", choices=COUNTERS, help="the first that works is the default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="for the counts")
    return parser.parse_args()


def _count(counter: Counter, checkout: Checkout, work: Work, times: int) -> list[float]:
    venv = gateway_venv(checkout.folder)
    venv.install()
    # Without a seed, sets of strings have another order in each process.
    program = ("env", "PYTHONHASHSEED=0", *counter.prefix(), venv.python, "-m", "gateway", "run")
    return count(counter, Peer("sockgw", program, folder=checkout.folder), work, times)


def count(counter: Counter, peer: Peer, work: Work, times: int) -> list[float]:
    """The instructions of each message of a work, counted some times in a server of its own."""
    bench = Bench(server_core=min(os.sched_getaffinity(0)))
    with bench.serve(peer, Shape(still=True)) as server, work.begin(server.port) as turn:

        def turns() -> None:
            for _ in range(work.turns):
                turn()

        turns()  # caches fill, and Python specialises its code
        _rest(server.pids[0])
        counted = [counter.count(server.pids[0], turns) for _ in range(times)]
    return [each / (work.turns * work.messages) for each in counted]


def _rest(pid: int) -> None:
    """Wait until a process does nothing: a start goes on in the background after it listens."""
    before, now = "", _cpu(pid)
    while now != before:
        time.sleep(REST)
        before, now = now, _cpu(pid)


def _cpu(pid: int) -> str:
    """The CPU time of a process, user and kernel, in hundredths of a second."""
    return " ".join(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])


def _report(counts: Counts) -> str:
    names = list(counts.counts)
    rows = [
        _row(WORKS[work].title, [counts.counts[name][work] for name in names])
        for work in counts.counts[names[0]]
    ]
    ratio = ["ratio"] if len(names) > 1 else []
    head = ("instructions a message", *names, *ratio)
    notes = [f"counted by {counts.counter}, in user space; {counts.python}"]
    notes.append(f"two counts of the same work differ by up to {_spread(counts.counts):.2%}")
    return "\n".join([grid(head, rows), "", *notes])


def _row(title: str, counted: Sequence[Sequence[float]]) -> list[str]:
    means = [fmean(each) for each in counted]
    ratio = [f"{means[0] / means[1]:.3f}"] if len(means) > 1 else []
    return [title, *(f"{mean:,.0f}" for mean in means), *ratio]


def _spread(counts: Mapping[str, Mapping[str, Sequence[float]]]) -> float:
    """The largest difference of two counts of one work and checkout, as a share."""
    rows = [counted for works in counts.values() for counted in works.values()]
    return max((max(row) - min(row)) / min(row) for row in rows)


if __name__ == "__main__":
    main()
