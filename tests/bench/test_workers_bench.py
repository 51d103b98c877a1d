"""The bench of workers, small: what it counts holds on any machine; its times are not looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.scaling.costs import Rate
from bench.scaling.faults import Fault, fault
from bench.scaling.holdings import Holdings
from bench.scaling.rooms import room
from bench.scaling.soak import Kill, Soak, soak
from bench.scaling.tables import costs_text, faults_table, rooms_table, soak_text
from tests.programs.apt import install

MB = 2**20
BAD: dict[str, Any] = {
    "broadcasts": 9,
    "lost": 3,
    "twice": 4,
    "counted": 1,
    "back": 0.5,
    "again": 0.6,
}


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    install()


async def test_a_room_over_two_workers_is_whole(tmp_path: Path) -> None:
    found = await room("nginx", 2, 12, 5, tmp_path)
    assert (found.lost, found.twice, found.unanswered, found.refused) == (0, 0, 0, 0)
    assert found.noticed == {}
    assert sum(found.sockets) == 12
    assert found.is_clean
    assert "| 60 | 0 | 0 | 0 | nothing |" in rooms_table([found])


async def test_the_clients_of_a_killed_worker_notice_it(tmp_path: Path) -> None:
    found = await fault("kill -9 worker", "HAProxy", 2, 24, tmp_path)
    assert found.noticed["own"] == found.own
    assert found.noticed["others, WebSocket"] == 0
    assert found.is_clean
    assert (found.twice, found.orphans) == (0, 0)


def test_what_is_lost_has_to_be_counted() -> None:
    noticed = {"own": 1, "others, polling": 2, "others, WebSocket": 3}
    facts = (1, noticed, 5, 7, 0, 7, 0.25, None, 0)
    counted = Fault("kill -9 worker", "nginx", 10, *facts)
    assert counted.is_clean
    assert not Fault("kill -9 worker", "nginx", 10, 1, noticed, 5, 7, 0, 6, 0.25, None, 0).is_clean
    assert "| 1 of 1 | 2 and 3 of 9 | 7, 7 | 0 | 0.2 s | refused | 0 |" in faults_table([counted])


async def test_a_soak_of_kills_leaves_nothing_behind(tmp_path: Path) -> None:
    found = await soak(2, 24, 1.0, 1.0, tmp_path)
    assert found.problems == ()
    assert found.answered > 0
    assert sum(each.own for each in found.kills) > 0
    assert found.base.keys() == {"supervisor", "zygote", "worker 1", "worker 2"}
    assert "\ngood: " in soak_text(found)


def test_what_is_not_good_in_a_soak_is_named() -> None:
    base = {"zygote": Holdings(50 * MB, 10 * MB, 4, 1, 1, {})}
    found = Soak(2, 12, 20.0, base=base, end={"zygote": Holdings(60 * MB, 10 * MB, 7, 4, 4, {})})
    found.kills = [Kill(2, 6, polling=1, websocket=2, refused=0, **BAD)]
    found.asked, found.answered = 10, 4
    found.lost = {"own": 1, "polling": 2, "websocket": 1}
    assert found.problems == (
        "kill 1: 2 WebSockets of other workers ended",
        "kill 1: 3 broadcasts lost, 1 counted",
        "kill 1: 4 broadcasts came twice",
        "1 calls lost on WebSockets of other workers",
        "2 of 10 calls were not answered",
        "descriptors of the zygote grew from 4 to 7",
        "tasks of the zygote grew from 1 to 4",
        "timers of the zygote grew from 1 to 4",
        "memory of the zygote grew from 50.0 to 60.0 MB",
    )


def test_rates_are_compared_within_a_round() -> None:
    rates = [
        *(Rate(1, False, 100, 10, 2), Rate(2, False, 150, 12.5, 2)),
        *(Rate(1, True, 90, 11, 2), Rate(2, True, 91, 12, 2)),
        *(Rate(1, False, 50, 20, 2), Rate(2, False, 75, 25, 2)),
        *(Rate(1, True, 45, 22, 2), Rate(2, True, 45, 24, 2)),
    ]
    text = costs_text(rates, [], [], [])
    assert "with the load on the same cores: 1.50 times" in text
    assert "as if the load were elsewhere: 1.83 times" in text
