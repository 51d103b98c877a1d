"""The results of all trials, kept as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import msgspec

from bench.trial import Trial
from bench.works import WORKS, Figure

__all__ = ["Results", "write_json"]

Facts = dict[str, str]
Trials = dict[str, dict[str, list[Trial]]]


def write_json(path: Path, found: object) -> None:
    """Write what was measured, for people to read too."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")


def machine() -> Facts:
    """The machine the trials ran on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "?")
    return {
        "cpu": f"{model}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}",
    }


@dataclass(slots=True)
class Results:
    """The trials by work and peer, the version of each peer, and the machine."""

    trials: Trials = field(default_factory=dict)
    versions: Facts = field(default_factory=dict)
    machine: Facts = field(default_factory=machine)

    def add(self, work: str, peer: str, trial: Trial) -> None:
        self.trials.setdefault(work, {}).setdefault(peer, []).append(trial)

    def of(self, work: str, peer: str) -> list[Trial]:
        """The trials of a peer at a work; empty if it was not run."""
        return self.trials.get(work, {}).get(peer, [])

    def figure(self, work: str, peer: str, figure: Figure | None = None) -> float | None:
        """The median of the work's figure, or of another; `None` if it was not run."""
        trials = self.of(work, peer)
        return median(map(figure or WORKS[work].figure, trials)) if trials else None

    def ratio(self, work: str, peer: str, other: str) -> float | None:
        """The cost of a peer divided by another's; `None` if one of them was not run.

        It is the median of the rounds' ratios, since a slow minute slows both peers of a round.
        If one has more trials than the other, it is the ratio of their medians.
        """
        own, others = self.of(work, peer), self.of(work, other)
        if not own or not others:
            return None
        figure = WORKS[work].figure
        if len(own) == len(others):
            return median(figure(one) / figure(two) for one, two in zip(own, others, strict=True))
        return median(map(figure, own)) / median(map(figure, others))

    def spread(self, work: str, peer: str) -> float:
        """Half the range, as a share of the median."""
        values = list(map(WORKS[work].figure, self.of(work, peer)))
        middle = abs(median(values)) or 1.0
        return (max(values) - min(values)) / 2 / middle

    def capacity(self, peer: str) -> float:
        """Acked calls a second that the peer answers with a core of its own."""
        return 1e6 / median(map(WORKS["ask"].figure, self.of("ask", peer)))

    def others(self) -> float:
        """The median of the cores that other processes kept busy during the trials."""
        return median(trial.measured.others for trial in self.all()) if self.trials else 0.0

    def all(self) -> Iterator[Trial]:
        """Every trial."""
        for peers in self.trials.values():
            for trials in peers.values():
                yield from trials

    def save(self, path: Path) -> None:
        """Write the trials, and the figure of each work and peer."""
        figures = {
            work: {peer: self.figure(work, peer) for peer in peers}
            for work, peers in self.trials.items()
        }
        path.parent.mkdir(exist_ok=True)
        whole = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "figures": figures}
        whole |= msgspec.to_builtins(self)
        write_json(path, whole)

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read the results that `save` wrote."""
        return msgspec.json.decode(path.read_bytes(), type=cls)
