"""Edit a busy gateway and count what its clients notice: `python -m bench.reload`."""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import tempfile
from dataclasses import asdict
from pathlib import Path

import uvloop

from bench.reloading.figures import figures, table
from bench.reloading.run import Plan, run

__all__ = ["main"]

QUICK = (100, 40)
FULL = (2000, 1000)


def main() -> None:
    """Run what the command line asks for; exit with 1 if a client noticed anything."""
    options = _options()
    plan = Plan(
        sockets=options.sockets,
        saves=options.reloads,
        every=options.every,
        warm_up=min(100, max(4, options.reloads // 4)),
        quiet=min(10.0, options.reloads / 20),
        workers=options.workers,
    )
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])
    gc.disable()  # a pause of the client would look like one of the daemon
    load = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        done = uvloop.run(run(plan, Path(folder, "gateway"), set(cores[1:] or cores)))
    found = figures(plan, done)
    print(table(found))
    print("load average before and after:", *(f"{each[0]:.2f}" for each in (load, os.getloadavg())))
    if options.json:
        options.json.write_text(json.dumps({**asdict(found), "load": load}, indent=2) + "\n")
    raise SystemExit(not found.is_clean)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.reload", description=__doc__)
    parser.add_argument("--sockets", type=int, help=f"sockets; {FULL[0]} if not given")
    parser.add_argument("--reloads", type=int, help=f"saves to make; {FULL[1]} if not given")
    parser.add_argument(
        "--every", type=float, default=2.0, help="seconds between two packets of a socket"
    )
    parser.add_argument(
        "--quick", action="store_true", help="{} sockets and {} reloads".format(*QUICK)
    )
    parser.add_argument("--workers", type=int, default=1, help="workers of the gateway; 1 process")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    options = parser.parse_args()
    sockets, reloads = QUICK if options.quick else FULL
    options.sockets = options.sockets or sockets
    options.reloads = options.reloads or reloads
    return options


if __name__ == "__main__":
    main()
