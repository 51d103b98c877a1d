"""The daemon's metrics in Prometheus' text format, collected when they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from math import inf
from typing import TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from gateway.backends.backend import HttpBackend
from gateway.backends.breaker import STATES
from gateway.backends.figures import BOUNDS
from gateway.backends.telling import Teller
from gateway.cluster.bus import Bus
from gateway.cluster.configurations import Configurations
from gateway.cluster.emitter import ClusterEmitter
from gateway.cluster.forward import Forwarding
from gateway.cluster.links import Links
from gateway.compiler import schema_cost
from gateway.daemon.fleet import Fleet
from gateway.daemon.serving import Serving
from gateway.daemon.watcher import Watcher

__all__ = ["Metrics", "ServingMetrics"]

T = TypeVar("T", bound=str)


class ServingMetrics:
    """Collects the metrics of a process that serves; `forwarding` is that of a worker."""

    def __init__(self, serving: Serving, forwarding: Forwarding | None = None) -> None:
        self._serving = serving
        self._forwarding = forwarding
        self._before = schema_cost()  # which counts for the whole process

    def collect(self) -> Iterator[Metric]:
        """Return what there is to tell now."""
        yield from self._traffic()
        yield from self._presence()
        yield from self._members()
        yield from self._forwarded()
        if (configurations := self._serving.configurations) is not None:
            yield from self._cluster(configurations)
        if links := self._serving.links:
            yield from _links(links)
        yield from self._clients()
        yield from self._checks()
        if backends := self._serving.build.backends:
            yield from _backends(backends)
        if tellers := self._serving.sessions.tellers:
            yield from _sessions(tellers)
        yield from self._generations()

    def _traffic(self) -> Iterator[Metric]:
        server = self._serving.sockets
        sockets = GaugeMetricFamily("sockgw_sockets", "Open sockets.", labels=["namespace"])
        for namespace, count in server.hub.rooms.counts.items():
            sockets.add_metric([namespace], count)
        yield sockets
        yield _counts(
            "sockgw_packets",
            "Packets by what became of them.",
            "outcome",
            server.dispatcher.outcomes,
        )
        yield _counts(
            "sockgw_cancelled_packets",
            "Packets cancelled before they were done, by what cancelled them.",
            "by",
            server.live.cancellations.counts,
        )
        yield CounterMetricFamily(
            "sockgw_volatile_dropped",
            "Volatile events dropped, by client, because it was not ready.",
            value=server.hub.dropped,
        )
        yield GaugeMetricFamily(
            "sockgw_connections",
            "Open TCP connections of the public port.",
            server.engine.connections,
        )

    def _presence(self) -> Iterator[Metric]:
        """What is kept of who is there."""
        presence = self._serving.sockets.hub.presence
        yield GaugeMetricFamily(
            "sockgw_presence_entries",
            "Users, or sockets without one, that are listed for a room or namespace.",
            len(presence.roster.entries(presence.tag)),
        )
        yield CounterMetricFamily(
            "sockgw_presence_unheard",
            "Entries of other members that are not listed, because of limits.presence.",
            value=presence.unheard,
        )

    def _members(self) -> Iterator[Metric]:
        """What goes between this member and others, if there can be others."""
        hub = self._serving.sockets.hub
        yield CounterMetricFamily(
            "sockgw_cluster_events_refused",
            "Published events that a `cluster` route did not get, because of limits.handlers.",
            value=hub.dispatcher.unheard,
        )
        emitter = hub.emitter
        if not isinstance(emitter, ClusterEmitter):
            return
        counts, requests = emitter.bus.counts, emitter.requests
        answering = emitter.incoming.answering
        yield _counts(
            "sockgw_bus_unpublished",
            "Messages that another member was not sent.",
            "reason",
            counts.unpublished,
        )
        for name, text, count in (
            ("published", "Messages sent to other members.", counts.published),
            ("received", "Messages of other members.", counts.received),
            ("missed", "Messages of other members that did not arrive.", counts.missed),
            ("members_lost", "Members that ended without a word.", counts.members_lost),
            ("undecodable", "Messages of other members that were dropped.", counts.undecodable),
            ("unaccepted", "Messages that cluster.accept does not allow.", counts.unaccepted),
            ("unconfirmed", "Messages sent when the connection was lost.", counts.unconfirmed),
            ("reconnects", "How often the bus went away.", emitter.bus.state.changes),
            ("unanswered", "Requests that some member did not answer.", requests.unanswered),
            ("refused", "Requests of other members beyond the limit.", answering.refused),
        ):
            yield CounterMetricFamily(f"sockgw_bus_{name}", text, value=count)
        yield GaugeMetricFamily(
            "sockgw_bus_pending", "Requests that wait for other members.", len(requests)
        )
        yield from self._bus(emitter.bus)

    def _bus(self, bus: Bus) -> Iterator[Metric]:
        """How the bus is now, and how long messages take."""
        yield GaugeMetricFamily("sockgw_bus_up", "Members whose bus is there.", bus.is_up)
        yield GaugeMetricFamily("sockgw_bus_members", "Other members.", len(bus.members))
        lags, total = bus.counts.lags, 0
        buckets = []
        for bound, count in zip((*lags.BOUNDS, inf), lags.counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound == inf else str(bound), float(total)))
        lag = HistogramMetricFamily(
            "sockgw_bus_lag_seconds", "Seconds that broadcasts of other members took."
        )
        lag.add_metric([], buckets, lags.sum)
        yield lag

    def _cluster(self, configurations: Configurations) -> Iterator[Metric]:
        """What the members of the cluster serve, and which has the lease."""
        yield GaugeMetricFamily(
            "sockgw_cluster_configurations",
            "Different configurations that the members serve.",
            configurations.count,
        )
        cluster, bus = self._serving.cluster, self._serving.bus
        lease = None if bus is None else bus.lease
        if cluster is not None and lease is not None and lease.is_sought:
            held = GaugeMetricFamily(
                "sockgw_lease_held", "Whether this member has the lease.", labels=["cluster"]
            )
            held.add_metric([cluster.name], lease.is_here)
            yield held

    def _forwarded(self) -> Iterator[Metric]:
        if self._forwarding is None:
            return
        yield _counts(
            "sockgw_forwarded",
            "Requests for sessions of other workers, by what became of them.",
            "result",
            self._forwarding.counts,
        )
        yield GaugeMetricFamily(
            "sockgw_forwarding", "Forwarded requests that wait.", self._forwarding.waiting
        )
        if rule := self._serving.public.rule:
            yield CounterMetricFamily(
                "sockgw_accept_pauses",
                "How often a worker with more than its share of connections paused.",
                value=rule.pauses,
            )
        yield GaugeMetricFamily(
            "sockgw_relayed", "Connections that are relayed.", self._forwarding.relays
        )

    def _clients(self) -> Iterator[Metric]:
        """What clients did that they may not, and what was not allowed to them."""
        engine = self._serving.sockets.engine
        yield _counts(
            "sockgw_violations",
            "What clients did that they may not.",
            "kind",
            engine.violations.counts,
        )
        yield _counts(
            "sockgw_limited", "How often a limit was met.", "limit", engine.limits_met.counts
        )
        yield _counts(
            "sockgw_refused",
            "What was refused because of the configuration or by middleware.",
            "thing",
            engine.refused.counts,
        )
        yield _counts(
            "sockgw_faults", "Faults in the gateway itself.", "kind", engine.faults.counts
        )

    def _checks(self) -> Iterator[Metric]:
        cost, before = schema_cost(), self._before
        refused = cost.refused - before.refused
        checks = CounterMetricFamily(
            "sockgw_schema_checks", "Checks of arguments by a schema.", labels=["result"]
        )
        checks.add_metric(["valid"], cost.checks - before.checks - refused)
        checks.add_metric(["refused"], refused)
        yield checks
        yield CounterMetricFamily(
            "sockgw_schema_seconds",
            "Seconds that these checks took.",
            cost.seconds - before.seconds,
        )

    def _generations(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "sockgw_reload_closed_sockets",
            "Sockets closed because a reload removed their namespace.",
            value=self._serving.closed,
        )
        yield GaugeMetricFamily(
            "sockgw_config_generation", "The generation that serves.", self._serving.generation
        )
        yield GaugeMetricFamily(
            "sockgw_generations_alive",
            "Generations that serve or are still used.",
            len(self._serving.sockets.live.alive),
        )


class Metrics:
    """The metrics of the gateway: those of the fleet, its reloads by trigger and result, and more.

    `more` collects those of other listeners.
    """

    def __init__(
        self, fleet: Fleet, watcher: Watcher, more: Callable[[], Iterable[Metric]] = tuple
    ) -> None:
        self._more = more
        self._fleet = fleet
        self._watcher = watcher
        self._reloads: Counter[tuple[str, str]] = Counter()
        self._last: tuple[str, float] | None = None  # result and time

    async def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        registry = CollectorRegistry()
        fleet = await self._fleet.metrics()
        registry.register(_Collected([*fleet, *self._more(), *self._reloading()]))
        return generate_latest(registry)

    def record_reload(self, trigger: str, result: str, at: float) -> None:
        """Count a reload; `at` is in seconds since the epoch."""
        self._reloads[trigger, result] += 1
        self._last = result, at

    def _reloading(self) -> Iterator[Metric]:
        reloads = CounterMetricFamily(
            "sockgw_config_reloads", "Reloads.", labels=["trigger", "result"]
        )
        for labels, count in self._reloads.items():
            reloads.add_metric(labels, count)
        yield reloads
        if self._last is not None:
            result, at = self._last
            yield GaugeMetricFamily(
                "sockgw_config_last_reload_successful",
                "Whether the last reload was accepted.",
                result != "failed",
            )
            yield GaugeMetricFamily(
                "sockgw_config_last_reload_timestamp_seconds",
                "When the last reload was.",
                at,
            )
        yield GaugeMetricFamily(
            "sockgw_watcher_up", "Whether file events arrive.", self._watcher.up
        )


class _Collected(Collector):
    """Metrics that have been collected."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Sequence[Metric]:
        return self._metrics


def _backends(backends: Mapping[str, HttpBackend]) -> Iterator[Metric]:
    """Return the metrics of calls to backends, by the name of each."""
    calls = CounterMetricFamily(
        "sockgw_backend_calls",
        "Calls to a backend, by what became of them.",
        labels=["backend", "outcome"],
    )
    times = HistogramMetricFamily(
        "sockgw_backend_seconds", "Seconds that calls to a backend took.", labels=["backend"]
    )
    in_flight = GaugeMetricFamily(
        "sockgw_backend_in_flight", "Calls that a backend has to answer.", labels=["backend"]
    )
    waiting = GaugeMetricFamily(
        "sockgw_backend_waiting", "Calls that wait for their turn.", labels=["backend"]
    )
    retries = CounterMetricFamily(
        "sockgw_backend_retries", "Requests that were sent again.", labels=["backend"]
    )
    breaker = GaugeMetricFamily(
        "sockgw_backend_breaker",
        "Processes in which the breaker is in a state.",
        labels=["backend", "state"],
    )
    for name, backend in backends.items():
        figures = backend.figures
        for outcome, count in figures.outcomes.items():
            calls.add_metric([name, outcome], count)
        times.add_metric([name], _cumulative(figures.buckets), figures.seconds)
        in_flight.add_metric([name], figures.in_flight)
        waiting.add_metric([name], figures.waiting)
        retries.add_metric([name], figures.retries)
        for state in STATES:
            breaker.add_metric([name, state], backend.breaker.state == state)
    yield from (calls, times, in_flight, waiting, retries, breaker)


def _links(links: Links) -> Iterator[Metric]:
    """Return the metrics of the links to members on other machines."""
    states = links.states
    up = GaugeMetricFamily(
        "sockgw_links", "Links to members on other machines, by state.", labels=["state"]
    )
    up.add_metric(["up"], sum(states.values()))
    up.add_metric(["down"], len(states) - sum(states.values()))
    yield up
    yield CounterMetricFamily("sockgw_links_lost", "How often a link was lost.", links.lost)
    yield _counts(
        "sockgw_link_forwarded",
        "Requests for sessions of other machines, by what became of them.",
        "result",
        {**links.forwarding.counts, "no_link": links.refused},
    )
    for name, text, count in (
        ("forwarding", "Requests forwarded to other machines that wait.", links.forwarding.waiting),
        ("waiting", "Requests that wait for a link.", links.waiting),
        ("relayed", "WebSockets of sessions on other machines.", links.forwarding.passing.relayed),
    ):
        yield GaugeMetricFamily(f"sockgw_link_{name}", text, count)
    yield _counts(
        "sockgw_link_refused",
        "Connections for a link that were refused, by reason.",
        "reason",
        links.listener.refused,
    )


def _sessions(tellers: Mapping[str, Teller]) -> Iterator[Metric]:
    """Return the metrics of what backends are told of sockets, by the name of each."""
    messages = CounterMetricFamily(
        "sockgw_session_messages",
        "Messages about sockets to a backend, by what became of them.",
        labels=["backend", "result"],
    )
    retries = CounterMetricFamily(
        "sockgw_session_retries", "Requests with such messages sent again.", labels=["backend"]
    )
    entries = GaugeMetricFamily(
        "sockgw_spool_entries", "Messages about sockets that wait.", labels=["backend"]
    )
    size = GaugeMetricFamily(
        "sockgw_spool_bytes", "Bytes of messages about sockets that wait.", labels=["backend"]
    )
    copies = GaugeMetricFamily(
        "sockgw_spool_copies",
        "Processes of which Redis has all ends that are to be told if the machine is lost.",
        labels=["backend"],
    )
    taken_over = CounterMetricFamily(
        "sockgw_session_taken_over",
        "Ends of sockets of lost machines that this one tells.",
        labels=["backend"],
    )
    for name, teller in tellers.items():
        messages.add_metric([name, "told"], teller.told)
        messages.add_metric([name, "dropped"], teller.spool.dropped)
        retries.add_metric([name], teller.retries)
        entries.add_metric([name], teller.spool.entries)
        size.add_metric([name], teller.spool.size)
        if (copy := teller.spool.copy) is not None:
            copies.add_metric([name], int(copy.is_whole))
            taken_over.add_metric([name], copy.taken_over)
    yield from (messages, retries, entries, size, copies, taken_over)


def _cumulative(buckets: Sequence[int]) -> list[tuple[str, float]]:
    bounds = (*map(str, BOUNDS), "+Inf")
    return list(zip(bounds, map(float, accumulate(buckets)), strict=True))


def _counts(name: str, text: str, label: str, counts: Mapping[T, int]) -> Metric:
    """A counter with a value for each value of its label."""
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
