"""The results as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.bars import bars
from bench.pace import SLOW
from bench.peers import PEERS
from bench.results import Results
from bench.trial import NOISY, Trial
from bench.works import CURVE, LATENCY, TABLE, WORKS, Work

__all__ = ["grid", "report"]

Row = Sequence[str]


def report(results: Results) -> str:
    """Tables of the works that were run."""
    parts = (
        _figures("the server's CPU or memory", results, TABLE),
        _figures("by number of clients", results, CURVE),
        _latencies(results),
        _bars(results),
        "\n".join(_notes(results)),
    )
    return "\n\n".join(filter(None, parts))


def _figures(title: str, results: Results, works: Sequence[Work]) -> str:
    run = [work for work in works if work.name in results.trials]
    peers = [peer for peer in PEERS if any(results.of(work.name, peer) for work in run)]
    rows = [
        (work.title, work.unit, *(_figure(results, work, peer) for peer in peers)) for work in run
    ]
    return grid((title, "", *peers), rows)


def _figure(results: Results, work: Work, peer: str) -> str:
    figure = results.figure(work.name, peer)
    if figure is None:
        return "-"
    if len(results.of(work.name, peer)) == 1:
        return f"{figure:.1f}"
    return f"{figure:.1f} ±{results.spread(work.name, peer):.0%}"


def _latencies(results: Results) -> str:
    names = ("p50", "p99", "p99.9", "max")
    rows: list[Row] = []
    for work in LATENCY:
        for peer in results.trials.get(work.name, {}):
            rate = results.figure(work.name, peer, _rate)
            figures = (results.figure(work.name, peer, _Quantile(name)) for name in names)
            cells = (f"{figure:,.2f}" for figure in figures if figure is not None)
            rows.append((f"{peer}, {work.title}", f"{rate:,.0f}", *cells))
    return grid(("latency in ms", "per second", *names), rows)


def _rate(trial: Trial) -> float:
    return trial.measured.messages / trial.measured.seconds


class _Quantile:
    """A figure: one latency, in milliseconds."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, trial: Trial) -> float:
        return trial.measured.latency_us[self._name] / 1e3


def _bars(results: Results) -> str:
    rows: list[Row] = []
    for bar in bars(results):
        limits = (f"{limit:.3g}" if limit is not None else "" for limit in (bar.most, bar.aim))
        rows.append((bar.title, f"{bar.value:.2f}", *limits, bar.verdict))
    return grid(("sockgw's bars", "", "bar", "aim", ""), rows)


def _notes(results: Results) -> Iterable[str]:
    for peer, version in results.versions.items():
        yield f"{peer}: {version}"
    yield ", ".join(results.machine.values())
    if (others := results.others()) > NOISY:
        yield f"noisy: other processes kept {others:.1f} cores busy (the median of all trials)"
    paces = [trial.pace for trial in results.all() if trial.pace]
    if slow := sum(pace > SLOW * min(paces) for pace in paces):
        yield f"noisy: in {slow} of {len(paces)} trials the core was slower than it can be"
    for work, peers in results.trials.items():
        awake = WORKS[work].load.mode in {"rate", "leave"}  # they wait for the moment awake
        for peer, trials in peers.items():
            share = max(trial.measured.load_cpu / trial.measured.seconds for trial in trials)
            if share > 0.95 and not awake:
                yield f"the load was the limit: {work}, {peer}"


def grid(head: Row, rows: Sequence[Row]) -> str:
    """Rows in columns: the first to the left, the others to the right; nothing for no rows."""
    if not rows:
        return ""
    columns = range(len(head))
    widths = [max(len(row[column]) for row in (head, *rows)) for column in columns]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in (head, *rows)
    )
