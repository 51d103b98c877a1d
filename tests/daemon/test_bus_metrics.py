"""The metrics of the bus, of a member that has one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gateway.daemon.metrics import ServingMetrics
from tests.cluster.gateways import gateways
from tests.deadline import until
from tests.gateway_files import write


async def test_what_goes_between_members_is_counted(tmp_path: Path) -> None:
    async with gateways(write(tmp_path, "namespaces: {/: }"), 2) as (one, two):
        await until(lambda: two.bus.members)
        await one.gateway.of("/").emit("hi", confirm=True)
        served: Any = SimpleNamespace(sockets=two._server)  # all that these metrics read
        found = {
            sample.name: sample.value
            for family in ServingMetrics(served)._members()
            for sample in family.samples
        }
        assert found == {
            "sockgw_cluster_events_refused_total": 0,
            "sockgw_bus_published_total": two.bus.counts.published,
            "sockgw_bus_received_total": two.bus.counts.received,
            "sockgw_bus_missed_total": 0,
            "sockgw_bus_members_lost_total": 0,
            "sockgw_bus_undecodable_total": 0,
            "sockgw_bus_unaccepted_total": 0,
            "sockgw_bus_unconfirmed_total": 0,
            "sockgw_bus_reconnects_total": 0,
            "sockgw_bus_unanswered_total": 0,
            "sockgw_bus_refused_total": 0,
            "sockgw_bus_pending": 0,
            "sockgw_bus_up": 1,
            "sockgw_bus_members": 1,
            **{name: value for name, value in found.items() if "lag_seconds" in name},
        }
        assert found["sockgw_bus_lag_seconds_count"] == 1
        assert found["sockgw_bus_published_total"] > 0
