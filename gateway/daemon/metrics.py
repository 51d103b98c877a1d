"""The daemon's metrics in Prometheus' text format, collected when they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.compiler import schema_cost
from gateway.daemon.serving import Serving
from gateway.daemon.watcher import Watcher

__all__ = ["Metrics"]

T = TypeVar("T", bound=str)


class Metrics(Collector):
    """Collects metrics from the serving gateway, and counts reloads by trigger and result."""

    def __init__(self, serving: Serving, watcher: Watcher) -> None:
        self._serving = serving
        self._watcher = watcher
        self._reloads: Counter[tuple[str, str]] = Counter()
        self._last: tuple[str, float] | None = None  # result and time
        self._before = schema_cost()  # which counts for the whole process
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        """Return all metrics."""
        return generate_latest(self._registry)

    def record_reload(self, trigger: str, result: str, at: float) -> None:
        """Count a reload; `at` is in seconds since the epoch."""
        self._reloads[trigger, result] += 1
        self._last = result, at

    def collect(self) -> Iterator[Metric]:
        yield from self._traffic()
        yield from self._clients()
        yield from self._checks()
        yield from self._reloading()

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

    def _reloading(self) -> Iterator[Metric]:
        reloads = CounterMetricFamily(
            "sockgw_config_reloads", "Reloads.", labels=["trigger", "result"]
        )
        for labels, count in self._reloads.items():
            reloads.add_metric(labels, count)
        yield reloads
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


def _counts(name: str, text: str, label: str, counts: Mapping[T, int]) -> Metric:
    """A counter with a value for each value of its label."""
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
