"""The bars that sockgw has to reach: ratios to its peers and to itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.results import Results
from bench.works import stall

__all__ = ["Bar", "bars"]


@dataclass(frozen=True, slots=True)
class Bar:
    """A value and its bar, the most it may be; `None` if it is only reported."""

    title: str
    value: float
    most: float | None = None
    aim: float | None = None

    @property
    def verdict(self) -> str:
        if self.most is None:
            return ""
        if self.value > self.most:
            return "MISSED"
        return "aim" if self.aim is not None and self.value <= self.aim else "bar"


RATIOS = {
    ("chat", "node"): (1.0, 0.8),
    ("chat", "bun"): (None, None),
    ("chat", "egg"): (1 / 2, 0.4),
    ("chat", "python-socketio"): (1 / 6, 1 / 8),
    ("ask", "node"): (1.0, 0.8),
    ("ask", "bun"): (None, None),
    ("ask", "egg"): (1 / 2, 0.4),
    ("ask", "python-socketio"): (1 / 6, 1 / 8),
    ("chat-5000", "node"): (1.0, 0.8),
    ("broadcast-500", "node"): (0.8, 0.5),
    ("broadcast-5000", "node"): (0.8, 0.5),
    ("connect", "node"): (1.0, 0.7),
    ("memory", "node"): (1.1, 0.7),
    ("polling", "node"): (1.0, 0.8),
    ("echo", "node"): (None, None),
}
"""The most that sockgw may cost as a share of a peer's cost: the bar and the aim."""


def bars(results: Results) -> Iterable[Bar]:
    """Every bar whose works were run."""
    for (work, peer), (most, aim) in RATIOS.items():
        ratio = results.ratio(work, "sockgw", peer)
        if ratio is not None:
            yield Bar(f"{work}: sockgw / {peer}", ratio, most, aim)
    yield from _own(results)


def _own(results: Results) -> Iterable[Bar]:
    few, many = (results.figure(f"leave-{count}", "sockgw") for count in (1000, 10000))
    if few and many is not None:
        yield Bar("a leaver of 10,000 / one of 1,000", many / few, 1.3)
    for peer, most in (("sockgw", 50.0), ("node", None)):
        longest = results.figure("leave-5000", peer, stall)
        if longest is not None:
            yield Bar(f"stall while 5,000 leave, ms, {peer}", longest, most)
    chat = results.figure("chat", "sockgw")
    if not chat:
        return
    five = results.figure("chain-5", "sockgw")
    if five is not None:
        yield Bar("one more middleware, us", (five - chat) / 4, 0.4)
    for work, title in (("routes-1000", "1,000 routes / 4"), ("names-200", "200 namespaces / 1")):
        figure = results.figure(work, "sockgw")
        if figure is not None:
            yield Bar(title, figure / chat, 1.05)
