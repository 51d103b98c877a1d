"""Run bad clients against a gateway that is edited meanwhile: `python -m bench.soak --minutes 30`.

Most clients behave and ask for acks. The others are reset, fall silent, send garbage, do not read
or come and go. Prints a verdict, and exits with 1 if there is a problem.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import uvloop

from bench.soaking.daemon import CONFIG, LIMITS, ON_SLOW, Daemon, running
from bench.soaking.lives import Account, Crowd
from bench.soaking.verdict import Verdict, table

__all__ = ["main"]

WARM_UP = 0.2
"""The share of the time before memory and descriptors are first read."""


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=1000, help="clients at a time")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two saves")
    parser.add_argument("--seed", type=int, default=1, help="seed of everything random")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder:
        verdict = uvloop.run(
            soak(
                Path(folder, "gateway"),
                options.clients,
                options.minutes * 60,
                options.every,
                random.Random(options.seed),
            )
        )
    print(table(verdict))
    if options.json:
        figures = {**asdict(verdict), "problems": verdict.problems}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    raise SystemExit(bool(verdict.problems))


async def soak(
    folder: Path, clients: int, seconds: float, every: float, rng: random.Random
) -> Verdict:
    """Run a warm-up, then the same for longer; no client is connected between and after them."""
    async with running(folder, CONFIG + LIMITS % ON_SLOW[0]) as daemon:
        port = await daemon.port()
        saving = asyncio.create_task(_save(daemon, every))
        warm_up = Crowd(port, Account(), rng)
        await warm_up.live(clients, seconds * WARM_UP)
        base = await daemon.held()
        account = Account()
        await Crowd(port, account, rng).live(clients, seconds * (1 - WARM_UP))
        end = await daemon.held()
        saving.cancel()
        metrics = await daemon.metrics()
        code = await daemon.ended()
    return Verdict(
        account,
        base,
        end,
        tuple(daemon.faults),
        code,
        daemon.saves,
        daemon.lines,
        violations=_counts(metrics, "sockgw_violations_total"),
        limited=_counts(metrics, "sockgw_limited_total"),
    )


def _counts(metrics: Mapping[str, float], name: str) -> dict[str, int]:
    """Counts of a metric by its only label, without zeros."""
    return {
        key.split('"')[1]: int(count)
        for key, count in metrics.items()
        if key.startswith(f"{name}{{") and count
    }


async def _save(daemon: Daemon, every: float) -> None:
    while True:
        await asyncio.sleep(every)
        daemon.save()


if __name__ == "__main__":
    main()
