"""The one process of a gateway without workers."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from time import time
from typing import Any

from prometheus_client.core import Metric

from gateway.backends.backend import HttpBackend
from gateway.backends.sessions import Home
from gateway.backends.telling import Teller
from gateway.cluster.bus import Bus
from gateway.cluster.configurations import Configurations
from gateway.cluster.handover import Link
from gateway.cluster.links import Links
from gateway.cluster.peer import Mesh
from gateway.compiler import Build
from gateway.daemon.listener import Listener
from gateway.daemon.loading import Loading
from gateway.daemon.membership import join, new_tag
from gateway.daemon.metrics import ServingMetrics
from gateway.daemon.plan import Plan
from gateway.daemon.serving import PreparedBuild, Serving
from gateway.errors import Problem
from gateway.push.operations import Operation
from gateway.runtime.live import OldGeneration
from gateway.runtime.services import Placement
from gateway.snapshot import Snapshot

__all__ = ["SingleProcess", "serving_status"]

MOST_FAULTS = 20
"""Links that are down of which a status says why."""


class SingleProcess:
    """A fleet of one: this process serves.

    `home`, `override`, `inherited` and `former` are as of `Serving`.
    """

    def __init__(
        self,
        loading: Loading,
        home: Home,
        override: Mapping[str, Any],
        inherited: socket.socket | None = None,
        former: socket.socket | None = None,
    ) -> None:
        self.snapshot: Snapshot | None = None
        self._loading, self._home = loading, home
        self._override, self._inherited, self._former = override, inherited, former
        self._serving: Serving | None = None
        self._metrics: ServingMetrics | None = None

    @property
    def serving(self) -> Serving:
        """What serves. Raises `LookupError` before the first snapshot does."""
        if self._serving is None:
            raise LookupError("nothing serves yet")
        return self._serving

    @property
    def generation(self) -> int:
        return self._serving.generation if self._serving else 0

    @property
    def listener(self) -> Listener:
        return self.serving.listener

    async def prepare(self, snapshot: Snapshot, *, anyway: bool = False) -> _Candidate | None:
        former = self._serving.build if self._serving else None
        build = await self._loading.build(snapshot, former)
        serving = self._serving or self._made(build)
        if not anyway and self._serving and serving.serves(build):
            return None
        return _Candidate(self, snapshot, serving, await serving.prepare(build))

    def _made(self, build: Build) -> Serving:
        given = self._override, self._inherited, self._former
        serving = Serving(build, *given, home=self._home)
        if build.config.cluster is not None:
            tag = new_tag()
            serving.sockets.engine.tag = tag
            join(serving, Mesh(tag))
        return serving

    def serve(self, snapshot: Snapshot, serving: Serving) -> None:
        """Note what serves now."""
        self.snapshot = snapshot
        if self._serving is None:
            self._serving, self._metrics = serving, ServingMetrics(serving)

    async def plan(self, snapshot: Snapshot) -> tuple[Plan, int]:
        serving = self.serving
        plan = serving.plan(await self._loading.build(snapshot, serving.build))
        sockets = serving.sockets.hub.rooms.counts
        return plan, sum(sockets[name] for name in plan.removed)

    async def push(self, operation: Operation) -> bytes:
        return await self.serving.pusher.perform(operation)

    async def status(self) -> dict[str, Any]:
        return serving_status(self.serving)

    async def metrics(self) -> Sequence[Metric]:
        return [*self._metrics.collect()] if self._metrics else []

    async def give_way(self, links: Sequence[Link]) -> None:
        await self.serving.give_way()
        for link in links:
            await self.serving.handover.from_successor(link)

    async def close(self, *, is_replaced: bool = False) -> None:
        if self._serving:
            if is_replaced:
                await self._serving.let_go()
            await self._serving.close()


class _Candidate:
    """A snapshot that is ready to serve in this process."""

    def __init__(
        self, fleet: SingleProcess, snapshot: Snapshot, serving: Serving, prepared: PreparedBuild
    ) -> None:
        self._fleet, self._snapshot, self._serving = fleet, snapshot, serving
        self._prepared = prepared

    @property
    def plan(self) -> Plan:
        return self._prepared.plan

    @property
    def warnings(self) -> Sequence[Problem]:
        return self._prepared.build.warnings

    @property
    def members(self) -> int:
        return 1

    async def link(self, links: Sequence[Link]) -> None:
        for link in links:
            await self._serving.handover.to_former(link)

    async def commit(self) -> None:
        await self._prepared.commit()
        self._fleet.serve(self._snapshot, self._serving)

    async def abort(self) -> None:
        await self._prepared.abort()


def serving_status(serving: Serving) -> dict[str, Any]:
    """Return what a process serves, and for whom, as JSON has it."""
    live, sockets = serving.sockets.live, serving.sockets
    # A plugin's reason may repeat a secret option.
    secrets, latest = serving.build.config.secrets, sockets.engine.refused.latest
    return {
        "generation": serving.generation,
        "since": serving.since,
        "digest": serving.build.blueprint.digest,
        "generations": live.alive,
        "old_generations": [_old(each) for each in live.old],
        "sockets": dict(sockets.hub.rooms.counts),
        "services": sorted(serving.build.blueprint.services),
        "placed": _placed(serving),
        "pending": serving.pending,
        "refused": [{**asdict(told), "cure": secrets.mask(told.cure)} for told in latest],
        "outcomes": sockets.dispatcher.outcomes,
        "backends": {
            name: _backend(each, serving.sessions.tellers.get(name))
            for name, each in serving.build.backends.items()
        },
        **_cluster(serving),
    }


def _backend(backend: HttpBackend, teller: Teller | None) -> dict[str, Any]:
    figures = backend.figures
    recent, seconds = figures.recent.buckets()
    return {
        "url": backend.config.shown,
        "breaker": {backend.breaker.state: 1},
        "outcomes": dict(figures.outcomes),
        "in_flight": figures.in_flight,
        "waiting": figures.waiting,
        "retries": figures.retries,
        "calls_per_second": sum(recent) / seconds,
        "recent": recent,
        "gone": sorted(backend.gone),
        "sessions": teller and _sessions(teller),
    }


def _sessions(teller: Teller) -> dict[str, int]:
    copy = teller.spool.copy
    return {
        "sockets": len(teller.present),
        "waiting": teller.spool.entries,
        "bytes": teller.spool.size,
        "told": teller.told,
        "retries": teller.retries,
        "dropped": teller.spool.dropped,
        "copies": int(copy is not None and copy.is_whole),
        "taken_over": copy.taken_over if copy else 0,
    }


def _cluster(serving: Serving) -> dict[str, Any]:
    """Return how it is with the cluster, if there is one."""
    if serving.cluster is None or serving.bus is None:
        return {}
    bus = serving.bus
    told = {"up": bus.is_up, "since": bus.state.since, "fault": bus.state.fault}
    told |= {"links": _links(serving.links)} if serving.links else {}
    told |= {"members": len(bus.members)}
    told |= _configurations(serving.configurations) if serving.configurations else {}
    return {"cluster": {"name": serving.cluster.name, **told}}


def _configurations(configurations: Configurations) -> dict[str, Any]:
    """Return what the members serve, and if that differs."""
    keys = ("node", "worker", "fingerprint", "since", "version", "wire")
    return {
        "configurations": configurations.count,
        "versions": configurations.versions,
        "differ_since": configurations.began,
        "drift": configurations.drift,
        "serving": [
            {"tag": tag, **{key: getattr(serves, key, None) for key in keys}}
            for tag, serves in configurations.members.items()
        ],
    }


def _placed(serving: Serving) -> dict[str, Any]:
    """Return where services with a scope run, if there can be other members."""
    placed = serving.sockets.live.pool.placements(serving.build.blueprint.services)
    return {
        name: {"scope": each.scope, "here": each.is_here, "member": _member(each, serving.bus)}
        for name, each in placed.items()
    }


def _member(placement: Placement, bus: Bus | None) -> str | None:
    """Return the tag of the member that a service runs on; `None` if that is not known."""
    is_own = bus is not None and placement.member == bus.tag
    is_heard = placement.scope == "node" or bus is None or bus.is_up
    return placement.member if (placement.is_here if is_own else is_heard) else None


def _links(links: Links) -> dict[str, Any]:
    """Return how it is with the links to members on other machines."""
    faults, states = links.faults, links.states
    return {
        "ports": [links.listener.port] if links.listener.port else [],
        "up": len(states) - len(faults),
        "down": len(faults),
        "faults": sorted(set(islice(faults.values(), MOST_FAULTS))),
    }


def _old(generation: OldGeneration) -> dict[str, Any]:
    seconds = generation.seconds
    return {
        "generation": generation.number,
        "packets": generation.packets,
        "chains": generation.chains,
        "cancelled": generation.cancelled,
        "until": None if seconds is None else time() + seconds,
    }
