"""The metrics of a daemon in the test's own process, at once."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from gateway.daemon.metrics import ServingMetrics
from gateway.daemon.serving import Serving

__all__ = ["metrics_of"]


class _Serving(Collector):
    def __init__(self, serving: Serving) -> None:
        self._metrics = ServingMetrics(serving)

    def collect(self) -> list[Metric]:
        return list(self._metrics.collect())


def metrics_of(serving: Serving) -> str:
    """What serves tells in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Serving(serving))
    return generate_latest(registry).decode()
