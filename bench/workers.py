"""Try gateways of several workers: `python -m bench.workers`.

Rooms over all workers behind nginx and HAProxy, which go round; faults of each process, and who
notices; reloads; what workers bring and cost; a soak in which one is killed every 20 s. Exits with
1 if something was lost, came twice, or grew.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from bench.load import LoadError
from bench.results import write_json
from bench.scaling.costs import Balance, Handed, Memory, Rate, balance, handed, memory, rate
from bench.scaling.faults import FAULTS, Fault, fault
from bench.scaling.gateway import PROXIES
from bench.scaling.rooms import Room, room
from bench.scaling.soak import Soak, soak
from bench.scaling.tables import costs_text, faults_table, rooms_table, soak_text
from tests.programs.apt import install

__all__ = ["main"]

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a run.

    `clients` share a room, and `noticing` ones see a fault. Rates are measured for so many
    `seconds`, in `rounds`. The last of `workers` stands in the faults, the reloads and the soak, in
    which `soaked` clients are there for `soaking` seconds and a worker is killed each `kill`.
    """

    workers: tuple[int, ...] = (2, 4)
    clients: int = 2000
    broadcasts: int = 100
    noticing: int = 500
    sockets: int = 500
    saves: int = 1000
    calls: int = 2000
    seconds: float = 5.0
    rounds: int = 3
    connections: int = 1000
    soaked: int = 300
    soaking: float = 600.0
    kill: float = 20.0


FULL = Plan()
QUICK = Plan((2, 4), 200, 20, 60, 50, 20, 200, 1.0, 1, 200, 60, 30.0, 5.0)


@dataclass(slots=True)
class Found:
    """Everything measured; `reload` is what `bench.reload` prints, `None` if it did not run."""

    rooms: list[Room] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    rates: list[Rate] = field(default_factory=list)
    handed: list[Handed] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    balance: list[Balance] = field(default_factory=list)
    soak: Soak | None = None
    reload: str | None = None
    is_reload_clean: bool = True

    @property
    def is_clean(self) -> bool:
        rooms, faults = (all(each.is_clean for each in part) for part in (self.rooms, self.faults))
        soaked = self.soak is None or self.soak.is_clean
        return self.is_reload_clean and rooms and faults and soaked


class Folders:
    """New folders in one that is deleted in the end."""

    def __init__(self, root: str) -> None:
        self._root, self._count = Path(root), 0

    def new(self) -> Path:
        self._count += 1
        folder = self._root / str(self._count)
        folder.mkdir()
        return folder


def main() -> None:
    """Measure what the command line asks for, print tables, write JSON."""
    options = _options()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    install()
    found, plan = Found(), QUICK if options.quick else FULL
    try:
        _measure(found, plan, options.parts)
    except (RuntimeError, OSError, LoadError) as error:
        sys.exit(f"bench: {error or repr(error)}")
    print("\n\n".join(_texts(found)))
    if options.json:
        write_json(options.json, found)
    raise SystemExit(not found.is_clean)


def _measure(found: Found, plan: Plan, parts: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as root:
        folders = Folders(root)
        for part in parts:
            for measured in PARTS[part](plan, found, folders):
                print(measured, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="all of it small, in four minutes")
    parser.add_argument(
        "--parts",
        nargs="+",
        metavar="PART",
        default=list(PARTS),
        choices=list(PARTS),
        help=", ".join(PARTS),
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="for everything measured")
    return parser.parse_args()


def _rooms(plan: Plan, found: Found, folders: Folders) -> Iterator[Room]:
    for proxy in PROXIES:
        for workers in plan.workers:
            work = room(proxy, workers, plan.clients, plan.broadcasts, folders.new())
            found.rooms.append(asyncio.run(work))
            yield found.rooms[-1]


def _faults(plan: Plan, found: Found, folders: Folders) -> Iterator[Fault]:
    for proxy in PROXIES:
        for kind in FAULTS:
            work = fault(kind, proxy, plan.workers[-1], plan.noticing, folders.new())
            found.faults.append(asyncio.run(work))
            yield found.faults[-1]


def _reload(plan: Plan, found: Found, folders: Folders) -> Iterator[str]:
    command = [sys.executable, "-m", "bench.reload", "--workers", str(plan.workers[-1])]
    command += ["--sockets", str(plan.sockets), "--reloads", str(plan.saves)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    found.reload, found.is_reload_clean = done.stdout.strip(), done.returncode == 0
    yield found.reload


def _costs(plan: Plan, found: Found, folders: Folders) -> Iterator[object]:
    for _ in range(plan.rounds):
        for apart, workers in product((False, True), (1, 2)):
            work = rate(workers, apart, plan.seconds, folders.new())
            found.rates.append(asyncio.run(work))
            yield found.rates[-1]
    found.handed = asyncio.run(handed(plan.calls, folders.new()))
    yield from found.handed
    for workers in plan.workers:
        found.memory.append(asyncio.run(memory(workers, folders.new())))
        found.balance.append(asyncio.run(balance(workers, plan.connections, folders.new())))
        yield found.memory[-1]
        yield found.balance[-1]


def _soak(plan: Plan, found: Found, folders: Folders) -> Iterator[str]:
    workers = plan.workers[-1]
    work = soak(workers, plan.soaked, plan.soaking, plan.kill, folders.new())
    found.soak = asyncio.run(work)
    yield soak_text(found.soak)


PARTS: dict[str, Callable[[Plan, Found, Folders], Iterator[object]]] = {
    "rooms": _rooms,
    "faults": _faults,
    "reload": _reload,
    "costs": _costs,
    "soak": _soak,
}


def _texts(found: Found) -> Iterator[str]:
    if found.rooms:
        yield rooms_table(found.rooms)
    if found.faults:
        yield faults_table(found.faults)
    if found.reload is not None:
        yield found.reload
    if found.rates:
        yield costs_text(found.rates, found.handed, found.memory, found.balance)
    if found.soak is not None:
        yield soak_text(found.soak)
    yield f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
