"""The status and the metrics of all workers as those of one gateway."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from gateway.daemon.supervisor import Worker

__all__ = ["Sums", "summed_status"]

SAME = (
    *("sockgw_bus_members", "sockgw_cluster_configurations"),
    *("sockgw_config_generation", "sockgw_generations_alive"),
)
"""Gauges that are the highest of the workers' instead of their sum."""

MOST_REFUSALS = 20
"""Refusals in a status at most, the newest."""

_Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Sums:
    """The metrics of all workers, those that ended among them.

    `skew` is the time between the first and the last worker's latest swap, in seconds.
    """

    def __init__(self) -> None:
        self.skew = 0.0
        self._ended: dict[str, Metric] = {}

    def keep(self, worker: Worker) -> None:
        """Add what a worker that has ended counted to what stays in the sums."""
        counters = [each for each in worker.metrics if each.type in ("counter", "histogram")]
        worker.metrics = ()
        self._ended = {each.name: each for each in _summed([*self._ended.values(), *counters])}

    def metrics(self, workers: Iterable[Worker]) -> list[Metric]:
        """Return the metrics of the workers as one, and those about workers."""
        told = [metric for worker in workers for metric in worker.metrics]
        return [*_summed([*told, *self._ended.values()]), *self._own(workers)]

    def _own(self, workers: Iterable[Worker]) -> Iterable[Metric]:
        up = GaugeMetricFamily("sockgw_worker_up", "Whether a worker serves.", labels=["worker"])
        restarts = CounterMetricFamily(
            "sockgw_worker_restarts", "How often a worker was started again.", labels=["worker"]
        )
        for worker in workers:
            up.add_metric([str(worker.number)], worker.state == "serving")
            restarts.add_metric([str(worker.number)], worker.restarts)
        yield up
        yield restarts
        yield GaugeMetricFamily(
            "sockgw_reload_skew_seconds",
            "Seconds between the first and the last worker that took up the newest generation.",
            self.skew,
        )


def _summed(metrics: Sequence[Metric]) -> list[Metric]:
    """Return one metric for each name; the values of equal labels are added."""
    found: dict[str, Metric] = {}
    values: dict[str, _Values] = {}
    for metric in metrics:
        found.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
        sums = values.setdefault(metric.name, {})
        for sample in metric.samples:
            key = sample.name, tuple(sample.labels.items())
            former = sums.get(key, 0.0)
            is_same = metric.name in SAME
            sums[key] = max(former, sample.value) if is_same else former + sample.value
    for name, metric in found.items():
        for (sample_name, labels), value in values[name].items():
            metric.add_sample(sample_name, dict(labels), value)
    return list(found.values())


def summed_status(
    workers: Iterable[Worker], found: Mapping[Worker, Mapping[str, Any]], generation: int
) -> dict[str, Any]:
    """Return the status of a gateway from those of its workers that have told theirs."""
    told = list(found.values())
    first: Mapping[str, Any] = told[0] if told else {}
    clusters = [each["cluster"] for each in told if "cluster" in each]
    return {
        "generation": generation,
        "since": first.get("since", 0.0),
        "digest": first.get("digest", ""),
        "generations": _counts(each["generations"] for each in told),
        "old_generations": _old(each["old_generations"] for each in told),
        "sockets": _counts(each["sockets"] for each in told),
        "services": first.get("services", []),
        "placed": _placed(each["placed"] for each in told),
        "pending": first.get("pending", ()),
        "refused": _refused(each["refused"] for each in told),
        "outcomes": _counts(each["outcomes"] for each in told),
        "backends": _backends(each["backends"] for each in told),
        "workers": [_worker(worker, found.get(worker)) for worker in workers],
        **({"cluster": _cluster(clusters)} if clusters else {}),
    }


def _worker(worker: Worker, facts: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "number": worker.number,
        "tag": worker.tag,
        "pid": worker.pid if worker.is_up else None,
        "state": worker.state,
        "sockets": sum(facts["sockets"].values()) if facts else None,
        "restarts": worker.restarts,
        "generation": worker.generation,
    }


def _cluster(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The state of the worker that is worst off; the others of a worker are members too."""
    worst = min(told, key=lambda each: (each["up"], -each["since"]))
    knows = max(told, key=lambda each: (each["up"], each["members"]))
    links = [each["links"] for each in told if "links" in each]
    linked = {"links": _links(links)} if links else {}
    return {**knows, **{key: worst[key] for key in ("up", "since", "fault")}, **linked}


def _placed(told: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Where each service with a scope runs, as the worker tells it that knows best."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, facts in (each for placed in told for each in placed.items()):
        best = found.setdefault(name, facts)
        found[name] = max(best, facts, key=lambda each: (each["here"], each["member"] is not None))
    return dict(found)


def _links(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The links of all workers."""
    return {
        "ports": sorted(port for each in told for port in each["ports"]),
        "up": sum(each["up"] for each in told),
        "down": sum(each["down"] for each in told),
        "faults": sorted({fault for each in told for fault in each["faults"]}),
    }


def _counts(counts: Iterable[Mapping[Any, int]]) -> dict[Any, int]:
    total: Counter[Any] = Counter()
    for each in counts:
        for key, count in each.items():  # `update` would do, but keys without a count stay
            total[key] += count
    return dict(total)


def _old(olds: Iterable[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for each in (each for old in olds for each in old):
        total = found.setdefault(
            each["generation"], {**each, "packets": 0, "chains": 0, "cancelled": 0}
        )
        for key in ("packets", "chains", "cancelled"):
            total[key] += each[key]
        ends = [end for end in (total["until"], each["until"]) if end is not None]
        total["until"] = max(ends, default=None)
    return [found[number] for number in sorted(found)]


def _backends(found: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Add what workers tell of each backend; lists of states and paths have each only once."""
    sums: dict[str, dict[str, Any]] = {}
    for name, facts in (each for told in found for each in told.items()):
        total = sums.get(name)
        if total is None:
            sums[name] = dict(facts)
            continue
        for key in ("in_flight", "waiting", "retries", "calls_per_second"):
            total[key] += facts[key]
        for key in ("breaker", "outcomes"):
            total[key] = _counts([total[key], facts[key]])
        total["recent"] = [*map(sum, zip(total["recent"], facts["recent"], strict=True))]
        total["gone"] = sorted({*total["gone"], *facts["gone"]})
        if facts["sessions"]:
            total["sessions"] = _counts([total["sessions"] or {}, facts["sessions"]])
    return sums


def _refused(lists: Iterable[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for each in (each for told in lists for each in told):
        total = found.setdefault((each["what"], each["who"], each["cure"]), {**each, "count": 0})
        total["count"] += each["count"]
        total["at"] = max(total["at"], each["at"])
    newest = sorted(found.values(), key=lambda each: each["at"])
    return newest[-MOST_REFUSALS:]
