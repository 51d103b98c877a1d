"""Crowd a gateway, and see what it holds: `python -m bench.crowds`.

Two tables: thousands of connections that do nothing, with what each takes and when it ends; and
sessions that make the gateway keep as much as they can. `--against` measures another revision in
the same run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.checkouts import checkout, this
from bench.flooding.crowd import CROWDS, Crowd, gather
from bench.flooding.gateway import Program, program_of
from bench.flooding.hoards import HOARDS, Hoard, hoard
from bench.flooding.tables import markdown
from bench.results import write_json

__all__ = ["main"]


@dataclass(slots=True)
class Crowds:
    """Everything measured. `revisions` are those of the gateways, as git describes them."""

    revisions: dict[str, str]
    crowds: list[Crowd] = field(default_factory=list)
    hoards: list[Hoard] = field(default_factory=list)


def main() -> None:
    """Measure what the command line asks for, print tables, write JSON."""
    options = _options()
    try:
        checkouts = [this(), *map(checkout, options.against)]
        programs = [program_of(each) for each in checkouts]
        found = Crowds({each.name: each.revision for each in checkouts})
        _measure(found, programs, options)
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"bench: {error}")
    print(_report(found))
    if options.json:
        write_json(options.json, found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.crowds", description=__doc__)
    parser.add_argument("--against", nargs="+", metavar="REV", default=[], help="or a checkout")
    parser.add_argument("--connections", type=int, default=5000, help="in a crowd")
    parser.add_argument("--sessions", type=int, default=20, help="that hoard")
    for name, known in (("crowds", CROWDS), ("hoards", HOARDS)):
        parser.add_argument(
            f"--{name}",
            nargs="*",
            metavar="KIND",
            default=list(known),
            choices=[*known, []],
            help=", ".join(known),
        )
    parser.add_argument("--json", type=Path, metavar="FILE", help="for everything measured")
    return parser.parse_args()


def _measure(found: Crowds, programs: Sequence[Program], options: argparse.Namespace) -> None:
    for program in programs:
        for kind in options.crowds:
            found.crowds.append(gather(program, kind, options.connections))
            print(found.crowds[-1], file=sys.stderr, flush=True)
        for kind in options.hoards:
            found.hoards.append(hoard(program, kind, options.sessions))
            print(found.hoards[-1], file=sys.stderr, flush=True)


def _report(found: Crowds) -> str:
    crowds = [
        (
            crowd.kind,
            crowd.gateway,
            f"{crowd.held:,} of {crowd.wanted:,}",
            f"{crowd.bytes / 1000:.1f} kB",
            f"{crowd.idle_cpu:.0%}",
            f"{crowd.left:,} never" if crowd.left else f"{crowd.first:.1f} to {crowd.last:.1f} s",
            f"{crowd.worst * 1000:,.0f} ms",
        )
        for crowd in found.crowds
    ]
    hoards = [
        (
            each.kind,
            each.gateway,
            f"{each.held} of {each.wanted}",
            f"{each.bytes / 1000:,.0f} kB",
            f"{each.peak / 1000:,.0f} kB",
        )
        for each in found.hoards
    ]
    parts = (
        markdown(("connections", "", "held", "each", "CPU", "ended after", "worst call"), crowds),
        markdown(("a session with", "", "held", "each", "at the most"), hoards),
        ", ".join(f"{name}: {revision}" for name, revision in found.revisions.items()),
        f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}",
    )
    return "\n\n".join(filter(None, parts))


if __name__ == "__main__":
    main()
