"""The daemon's metrics in Prometheus' text format, collected when they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.daemon.serving import Serving
from gateway.daemon.watcher import Watcher

__all__ = ["Metrics"]


class Metrics(Collector):
    """Collects metrics from the serving gateway, and counts reloads by trigger and result."""

    def __init__(self, serving: Serving, watcher: Watcher) -> None:
        self._serving = serving
        self._watcher = watcher
        self._reloads: Counter[tuple[str, str]] = Counter()
        self._last: tuple[str, float] | None = None  # result and time
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
        yield from self._reloading()

    def _traffic(self) -> Iterator[Metric]:
        server = self._serving.sockets
        sockets = GaugeMetricFamily("sockgw_sockets", "Open sockets.", labels=["namespace"])
        for namespace, count in server.hub.rooms.counts.items():
            sockets.add_metric([namespace], count)
        yield sockets
        packets = CounterMetricFamily(
            "sockgw_packets", "Packets by what became of them.", labels=["outcome"]
        )
        for outcome, count in server.dispatcher.outcomes.items():
            packets.add_metric([outcome], count)
        yield packets
        violations = CounterMetricFamily(
            "sockgw_violations", "What clients did that they may not.", labels=["kind"]
        )
        for kind, count in server.engine.violations.counts.items():
            violations.add_metric([kind], count)
        yield violations
        limited = CounterMetricFamily(
            "sockgw_limited", "How often a limit was met.", labels=["limit"]
        )
        for limit, count in server.engine.limits_met.counts.items():
            limited.add_metric([limit], count)
        yield limited
        faults = CounterMetricFamily(
            "sockgw_faults", "Faults in the gateway itself.", labels=["kind"]
        )
        for fault, count in server.engine.faults.counts.items():
            faults.add_metric([fault], count)
        yield faults
        yield GaugeMetricFamily(
            "sockgw_connections",
            "Open TCP connections of the public port.",
            server.engine.connections,
        )
        yield CounterMetricFamily(
            "sockgw_volatile_dropped",
            "Volatile events dropped, by client, because it was not ready.",
            value=server.hub.dropped,
        )
        yield CounterMetricFamily(
            "sockgw_cancelled_packets",
            "Packets cancelled because their generation was drained.",
            value=server.live.cancelled,
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
