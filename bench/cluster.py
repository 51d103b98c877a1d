"""Try a cluster of two nodes with two workers each: `python -m bench.cluster`.

Each node, the broker and the rest are machines in a network of their own, made of namespaces of
Linux. A room of stock clients behind a proxy that goes round; faults of the broker, the network and
a node, after which what was lost has to be what was counted; events within a process while the
broker is frozen; a soak. Exits with 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.clustering.faults import FAULTS, Fault, fault
from bench.clustering.local import Local, local
from bench.clustering.network import enclose, network
from bench.clustering.nodes import Cluster, cluster, front
from bench.clustering.rooms import Room, room
from bench.clustering.soak import Soak, soak
from bench.clustering.tables import faults_table, local_table, rooms_table, soak_text
from bench.results import write_json
from bench.scaling.clients import clients
from tests.js.install import install as install_js
from tests.programs import apt, nats, redis

__all__ = ["main"]

KILL = 30.0
"""Seconds between two kills of the broker in a soak."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a run.

    A broadcast is made each `every` seconds during a fault. Local events are measured in `rounds`
    of `seconds` without and with a freeze. `soaked` clients are there for a soak.
    """

    clients: int = 2000
    broadcasts: int = 100
    every: float = 0.2
    rounds: int = 4
    seconds: float = 6.0
    soaked: int = 300
    kill: float = KILL


FULL = Plan()
QUICK = Plan(48, 12, 0.05, 1, 2.0, 24, 5.0)


@dataclass(slots=True)
class Found:
    """Everything measured. `errors` are what the gateways logged as errors."""

    rooms: list[Room] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    local: list[Local] = field(default_factory=list)
    soak: Soak | None = None
    errors: list[str] = field(default_factory=list)

    @property
    def is_exact(self) -> bool:
        """True if nothing was lost, or came twice, but what was counted."""
        exact = [*self.rooms, *self.faults, *([self.soak] if self.soak else [])]
        return not self.errors and all(each.is_clean for each in exact)

    @property
    def is_fast(self) -> bool:
        return all(each.is_clean for each in self.local)


def main() -> None:
    """Measure what the command line asks for, print tables, write JSON."""
    options = _options()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for install in (apt.install, redis.PROGRAM.install, nats.PROGRAM.install, install_js):
        install()  # where there is a network
    enclose("bench.cluster")
    found = Found()
    try:
        asyncio.run(_measure(found, options))
    except (RuntimeError, OSError, TimeoutError) as error:
        sys.exit(f"bench: {str(error) or repr(error)}")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    print("\n\n".join(_texts(found)))
    if options.json:
        write_json(options.json, found)
    raise SystemExit(not (found.is_exact and (found.is_fast or options.quick)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description=__doc__)
    parser.add_argument("--nats", action="store_true", help="on NATS instead of Redis")
    parser.add_argument("--quick", action="store_true", help="small, and without a bar for times")
    parser.add_argument("--clients", type=int, help="so many instead of 2,000, or 300 in a soak")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="faults with these words only")
    parser.add_argument(
        "--soak",
        type=float,
        nargs="?",
        const=600.0,
        metavar="SECONDS",
        help="only a soak, 600 s long by default, in which the broker is killed every 30 s",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="for everything measured")
    return parser.parse_args()


async def _measure(found: Found, options: argparse.Namespace) -> None:
    plan = QUICK if options.quick else FULL
    with tempfile.TemporaryDirectory() as root:
        async with network():
            if options.soak is not None:
                count = options.clients or plan.soaked
                broker = "NATS" if options.nats else "Redis"
                found.soak = await soak(broker, count, options.soak, plan.kill, Path(root))
                return
            for broker in ("NATS",) if options.nats else ("Redis", "Sentinel"):
                if not any(_kinds(broker, options)):
                    continue
                folder = Path(root, broker)
                async with cluster(broker, folder) as ours:
                    await _try(ours, folder, found, plan, options)
                    found.errors += [error for node in ours.nodes for error in node.errors]


async def _try(
    ours: Cluster, folder: Path, found: Found, plan: Plan, options: argparse.Namespace
) -> None:
    """The room, the faults one after the other, and the local events."""
    name = ours.broker.name
    async with front(ours, folder) as url, clients() as crowd:
        await crowd.open(url, "", options.clients or plan.clients)
        found.rooms.append(await room(ours, crowd, plan.broadcasts))
        _tell(found.rooms[-1])
        for kind in _kinds(name, options):
            found.faults.append(await fault(kind, ours, crowd, plan.every))
            _tell(found.faults[-1])
            await crowd.back()  # to all members in equal parts
    if name != "Sentinel" and options.only is None:
        found.local.append(await local(ours, plan.rounds, plan.seconds))


def _kinds(broker: str, options: argparse.Namespace) -> list[str]:
    """The faults that are asked for."""
    words = options.only or [""]
    return [kind for kind in FAULTS[broker] if any(word in kind for word in words)]


def _tell(measured: object) -> None:
    print(measured, file=sys.stderr, flush=True)


def _texts(found: Found) -> Iterator[str]:
    if found.rooms:
        yield rooms_table(found.rooms)
    if found.faults:
        yield faults_table(found.faults)
    if found.local:
        yield local_table(found.local)
    if found.soak is not None:
        yield soak_text(found.soak)
    yield from (f"ERROR: {each}" for each in found.errors)
    yield f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
