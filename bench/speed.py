"""Measure sockgw beside its peers, and print what each costs: `python -m bench.speed`."""

from __future__ import annotations

import argparse
import os
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from bench.chart import chart
from bench.load import LoadError, build
from bench.peers import PEERS
from bench.python import find
from bench.report import report
from bench.results import Results
from bench.trial import Bench, Trial
from bench.works import CURVE, WORKS, Work

__all__ = ["main"]

FOLDER = Path(__file__).parent / "results"
QUICK = ("chat", "ask", "broadcast-500", "connect", "polling")
QUICK_PEERS = ("sockgw", "node")


@dataclass(frozen=True, slots=True)
class Plan:
    """The works and peers to run, `runs` times each."""

    works: Sequence[Work]
    peers: Sequence[str]
    runs: int
    bench: Bench


def main() -> None:
    """Run what the command line asks for, print the tables, write JSON and the chart."""
    options = _options()
    file: Path = options.file
    if options.show:
        print(report(Results.load(file)))
        return
    _raise_limits()
    print(f"bench: servers in Python run on {find()}", file=sys.stderr)
    results = Results.load(file) if options.add else Results()
    failed = _run(_plan(options), results, file)
    print(report(results))
    curve = _curve(results)
    if curve:
        title = "CPU of the server for each chat message, in microseconds"
        title += f" (Python {find().version})"
        file.with_suffix(".svg").write_text(chart(title, curve))
    if failed:
        sys.exit("bench: some trials failed; their errors are above the tables")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.speed", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="five works, once, in a minute")
    parser.add_argument("--only", nargs="+", metavar="WORK", help=f"of {', '.join(WORKS)}")
    parser.add_argument("--peers", nargs="+", metavar="PEER", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--runs", type=int, default=3, help="runs of each work and peer")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a run")
    parser.add_argument(
        "--patience", type=int, default=0, help="repeats of a trial that others disturbed"
    )
    parser.add_argument(
        "--file", type=Path, default=FOLDER / "speed.json", help="where the results go"
    )
    parser.add_argument("--add", action="store_true", help="keep the other works of the file")
    parser.add_argument("--show", action="store_true", help="print the file, run nothing")
    parser.add_argument("--cores", type=int, nargs=2, default=(0, 1), metavar=("SERVER", "LOAD"))
    return parser.parse_args()


def _plan(options: argparse.Namespace) -> Plan:
    names = options.only or (QUICK if options.quick else WORKS)
    peers = options.peers or (QUICK_PEERS if options.quick else tuple(PEERS))
    for name, known in [(name, WORKS) for name in names] + [(peer, PEERS) for peer in peers]:
        if name not in known:
            sys.exit(f"bench: no '{name}' here; there are {', '.join(known)}")
    server, load = options.cores
    missing = {server, load} - os.sched_getaffinity(0)
    if missing or server == load:
        sys.exit("bench: server and load need a core each: name two with --cores")
    bench = Bench(server, load, seconds=options.seconds, patience=options.patience)
    if options.quick:
        bench = replace(bench, warmup=0.5, seconds=1.0)
    return Plan([WORKS[name] for name in names], peers, 1 if options.quick else options.runs, bench)


def _raise_limits() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _run(plan: Plan, results: Results, file: Path) -> bool:
    """Run the works, the peers in turn, and save after each; true if a trial failed."""
    build()
    for name in plan.peers:
        PEERS[name].install()
        results.versions[name] = PEERS[name].version()
    failed = False
    for work in plan.works:
        peers = [name for name in work.peers if name in plan.peers]
        for name in peers:
            results.trials.get(work.name, {}).pop(name, None)
        for number, name in product(range(plan.runs), peers):
            _say(f"{work.name}, {name}, {number + 1} of {plan.runs}")
            try:
                results.add(work.name, name, _trial(plan.bench, work, name, results))
            except (LoadError, RuntimeError) as error:
                failed = True
                print(f"{work.name}, {name}: {error}", file=sys.stderr)
        results.save(file)
    _say("")
    return failed


def _trial(bench: Bench, work: Work, name: str, results: Results) -> Trial:
    load = work.load
    if work.share is not None:
        if not results.of("ask", name):
            results.add("ask", name, bench.trial(PEERS[name], work.shape, WORKS["ask"].load))
        load = replace(load, rate=work.share * results.capacity(name))
    return bench.trial(PEERS[name], work.shape, load)


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text:<60}", end="" if text else "\r", file=sys.stderr, flush=True)


def _curve(results: Results) -> dict[str, list[tuple[float, float]]]:
    """Points (clients, microseconds) of each peer that was run."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for peer in PEERS:
        for work in CURVE:
            figure = results.figure(work.name, peer)
            if figure is not None:
                lines.setdefault(peer, []).append((work.load.clients, figure))
    return lines


if __name__ == "__main__":
    main()
