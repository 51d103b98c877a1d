"""The figures of a run, their targets, and a table of both."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.reloading.cpu import Cpu
from bench.reloading.run import Plan, Run

__all__ = ["Figures", "figures", "table"]

Quantiles = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts, milliseconds, bytes.

    `quiet` and `around` are the latency of packets outside and inside the time from a save to
    its verdict, `added` is the difference. `served` is from a save to the first answer of the new
    state, `reload` the part of it that the daemon logs. `skew` is from the first to the last
    worker's swap.
    """

    workers: int
    sockets: int
    saves: int
    broken: int
    answered: int
    asked: int
    dropped: int
    lost: int
    mixed: int
    misjudged: int
    alive: int
    most_alive: int
    quiet: Quantiles
    around: Quantiles
    added: Quantiles
    served: Quantiles
    reload: Quantiles
    skew: Quantiles
    base: Mapping[str, int]
    end: Mapping[str, int]
    growth: float
    cpu: Cpu
    bad: Mapping[str, int]

    @property
    def is_clean(self) -> bool:
        """True if no client noticed anything."""
        return not (self.dropped or self.lost or self.mixed or self.misjudged)


def figures(plan: Plan, run: Run) -> Figures:
    """The figures of a run."""
    account = run.account
    inside, outside = _split(run)
    quiet, around = _quantiles(outside), _quantiles(inside)
    return Figures(
        workers=plan.workers,
        sockets=plan.sockets,
        saves=plan.saves,
        broken=run.broken,
        answered=account.answered,
        asked=account.asked,
        dropped=account.dropped,
        lost=account.lost,
        mixed=account.mixed,
        misjudged=run.misjudged,
        alive=run.alive,
        most_alive=run.most_alive,
        quiet=quiet,
        around=around,
        added={name: round(around[name] - quiet[name], 3) for name in quiet},
        served=_quantiles([1000 * seconds for seconds in run.served]),
        reload=_quantiles(run.applied),
        skew=_quantiles([1000 * seconds for seconds in run.skews]),
        base=run.base,
        end=run.end,
        growth=run.end["rss"] / run.base["rss"] - 1,
        cpu=run.cpu,
        bad=dict(account.bad.most_common(10)),
    )


def table(found: Figures) -> str:
    """A table of the figures, each with its target."""
    rows = list(_rows(found))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = (
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "\n".join(lines)


def _rows(found: Figures) -> Iterator[tuple[str, str, str]]:
    yield f"{found.sockets:,} sockets, {found.saves:,} saves, {found.broken:,} broken", "", "target"
    yield "sockets dropped", f"{found.dropped}", "0"
    yield "acks lost", f"{found.lost} of {found.answered:,} and {found.asked:,}", "0"
    yield "answers of mixed generations", f"{found.mixed}", "0"
    yield "saves misjudged", f"{found.misjudged}", "0"
    yield "generations at the end", f"{found.alive} (most: {found.most_alive})", "at most 2"
    base, end = (f"{each['rss'] / 1e6:.1f}" for each in (found.base, found.end))
    yield "memory", f"{base} -> {end} MB, {found.growth:+.1%}", "within 5 %"
    yield "latency, quiet", _ms(found.quiet), ""
    yield "latency, around a reload", _ms(found.around), ""
    yield "latency added", _ms(found.added), "p99 below 5 ms"
    yield "from save to served", _ms(found.served), "below 300 ms"
    yield "  the reload's part", _ms(found.reload), ""
    if found.workers > 1:
        yield f"first to last of {found.workers} workers", _ms(found.skew), "p99 below 50 ms"
    cores = (f"{who} {found.cpu[who]:.2f}" for who in ("daemon", "client", "others"))
    yield f"cores over {found.cpu['seconds']:.0f} s", ", ".join(cores), "others 0"
    yield from ((f"  {name}", f"{count}", "0") for name, count in found.bad.items())


def _ms(of: Quantiles) -> str:
    return f"p50 {of['p50']:.1f}  p99 {of['p99']:.1f}  max {of['max']:.1f} ms"


def _split(run: Run) -> tuple[list[float], list[float]]:
    """Milliseconds of the packets that touch a window, and of those that do not."""
    ends = [end for _, end in run.windows]
    inside: list[float] = []
    outside: list[float] = []
    first, last = run.windows[0][0], ends[-1]
    for sent, took in zip(run.account.sent, run.account.took, strict=True):
        if not first - 1 <= sent <= last + 1:
            continue
        next_window = bisect_left(ends, sent)
        touches = next_window < len(ends) and sent + took >= run.windows[next_window][0]
        (inside if touches else outside).append(took * 1000)
    return inside, outside


def _quantiles(values: Sequence[float]) -> Quantiles:
    ranked = sorted(values) or [0.0]
    at = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: round(ranked[int(q * (len(ranked) - 1))], 3) for name, q in at.items()}
