"""A chart of costs by number of clients, or of something else, written as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log10

__all__ = ["chart"]

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 72, 130, 50, 50
COLOURS = ("#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#1f77b4", "#7f7f7f", "#8c564b")
FONT = 'font-family="sans-serif" font-size="12"'
LINE = 14
"""The least distance of two labels, in pixels."""

Points = Sequence[tuple[float, float]]


def chart(title: str, series: Mapping[str, Points], below: str = "clients") -> str:
    """Draw each series of points (clients, cost) on logarithmic scales; `below` names the first."""
    points = [point for line in series.values() for point in line]
    across = _Scale([x for x, _ in points], LEFT, WIDTH - RIGHT)
    up = _Scale([y for _, y in points], HEIGHT - BOTTOM, TOP)
    middle = (LEFT + WIDTH - RIGHT) / 2
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {FONT}>',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            f'<text x="{LEFT}" y="26" font-size="15">{title}</text>',
            f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">{below}</text>',
            *_grid(across, up),
            *_lines(series, across, up),
            "</svg>\n",
        ]
    )


class _Scale:
    """A logarithmic scale from values to pixels."""

    def __init__(self, values: Sequence[float], first: float, last: float) -> None:
        self._low, self._high = log10(min(values) * 0.9), log10(max(values) * 1.1)
        self._first, self._last = first, last

    def __call__(self, value: float) -> float:
        share = (log10(value) - self._low) / (self._high - self._low)
        return self._first + share * (self._last - self._first)

    def ticks(self) -> list[float]:
        """1, 2, 5, 10 and so on, within the scale."""
        steps = (step * 10.0**power for power in range(-6, 7) for step in (1, 2, 5))
        return [step for step in steps if self._low <= log10(step) <= self._high]


def _grid(across: _Scale, up: _Scale) -> list[str]:
    parts = []
    for tick in across.ticks():
        x = f"{across(tick):.1f}"
        parts += [
            f'<path d="M{x} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>',
            f'<text x="{x}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{tick:,.0f}</text>',
        ]
    for tick in up.ticks():
        y = up(tick)
        parts += [
            f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>',
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(tick)}</text>',
        ]
    return parts


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _lines(series: Mapping[str, Points], across: _Scale, up: _Scale) -> list[str]:
    parts, lowest = [], float(HEIGHT)
    # From the bottom up: a label that is too near to the one below moves up.
    order = sorted(series, key=lambda name: series[name][-1][1])
    for name in order:
        colour = COLOURS[list(series).index(name) % len(COLOURS)]
        places = [(across(x), up(y)) for x, y in series[name]]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        x, y = places[-1]
        lowest = min(y, lowest - LINE)
        parts += [
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
            *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places),
            f'<text x="{x + 8:.1f}" y="{lowest + 4:.1f}" fill="{colour}">{name}</text>',
        ]
    return parts
