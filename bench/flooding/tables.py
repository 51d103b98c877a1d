"""The figures as tables of Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import TypeVar

from bench.flooding.bodies import Stall
from bench.flooding.cells import Cell
from bench.flooding.costs import Cost

__all__ = ["costs_table", "floods_table", "markdown", "stalls_table"]

T = TypeVar("T")
K = TypeVar("K")


def floods_table(cells: Sequence[Cell]) -> str:
    """The worst call of a bystander under each flood, the median of the runs."""
    rows = _grouped(cells, lambda cell: (cell.kind, str(cell.flooders)))
    columns = _grouped(cells, lambda cell: (cell.transport, cell.gateway))
    lines = [
        [*row, *(_flood([cell for cell in found if cell in column]) for column in columns.values())]
        for row, found in rows.items()
    ]
    return markdown(["flood", "from", *map(", ".join, columns)], lines)


def stalls_table(stalls: Sequence[Stall]) -> str:
    """Milliseconds for which each body stopped everybody, the median of the rounds."""
    columns = _grouped(stalls, lambda stall: (stall.transport, stall.gateway))
    lines = [
        [
            body,
            *(_stall([stall for stall in found if stall in column]) for column in columns.values()),
        ]
        for body, found in _grouped(stalls, lambda stall: stall.body).items()
    ]
    return markdown(["1 MB of", *map(", ".join, columns)], lines)


def costs_table(costs: Sequence[Cost]) -> str:
    """The CPU time of events over their limit."""
    columns = _grouped(costs, lambda cost: cost.gateway)
    lines = [
        [
            title,
            *(_cost(next(cost for cost in found if cost in column)) for column in columns.values()),
        ]
        for title, found in _grouped(costs, lambda cost: cost.title).items()
    ]
    return markdown(["one client sends", *columns], lines)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; empty if there are no rows."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if len(lines) > 2 else ""


def _grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _flood(cells: Sequence[Cell]) -> str:
    if not cells:
        return ""
    words = [f"{median(cell.worst for cell in cells) * 1000:,.0f} ms"]
    for count, what in (
        (sum(cell.busy for cell in cells), "busy"),
        (sum(cell.lost for cell in cells), "lost"),
        (sum(cell.refused for cell in cells), "not let in"),
        (sum(len(cell.faults) for cell in cells), "faults"),
    ):
        if count:
            words.append(f"{count} {what}")
    return ", ".join(words)


def _stall(stalls: Sequence[Stall]) -> str:
    return f"{median(stalls[0].seconds) * 1000:,.0f} ms" if stalls else ""


def _cost(cost: Cost) -> str:
    return f"{cost.share:.0%} of a core, {cost.cpu:.2f} s in {cost.seconds:.1f} s"
