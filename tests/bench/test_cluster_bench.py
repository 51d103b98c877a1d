"""The bench of a cluster, small: what it counts holds on any machine; its times are not looked at.

It runs in namespaces of its own, as the command does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.clustering.brokers import BROKERS
from bench.clustering.faults import FAULTS, Fault
from bench.clustering.local import Delays, Local
from bench.clustering.losses import Loss, losses
from bench.clustering.network import is_allowed
from bench.clustering.nodes import Counted
from bench.clustering.rooms import Room
from bench.clustering.soak import Held, Soak
from bench.clustering.tables import faults_table, local_table, rooms_table, soak_text
from bench.scaling.clients import Client, Connection, Song
from bench.scaling.holdings import Holdings
from tests.bench.run_bench import figures_of

namespaces = pytest.mark.skipif(not is_allowed(), reason="this user may not make namespaces")

MB = 2**20


@namespaces
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        (("--only", "9` of Redis", "both ways"), ["`kill -9` of Redis", "both ways dropped"]),
        (("--only", "9` of the master"), ["`kill -9` of the master"]),
        (("--nats", "--only", "9` of node 2"), ["`kill -9` of node 2"]),
    ],
)
def test_what_clients_lose_is_what_members_count(
    options: tuple[str, ...], kinds: list[str], tmp_path: Path
) -> None:
    found = figures_of(tmp_path / "figures.json", "bench.cluster", "--quick", *options)
    assert found["errors"] == []
    (room,) = found["rooms"]
    assert (room["lost"], room["twice"], room["refused"], room["noticed"]) == (0, 0, 0, {})
    assert sum(room["sockets"].values()) == room["clients"] == 48
    assert room["linked"] > 0
    assert len(found["faults"]) == len(kinds)
    for fault, kind in zip(found["faults"], kinds, strict=True):
        assert fault["kind"].startswith(kind)
        assert fault["twice"] == 0
        members = [each for each in fault["members"] if each["witnesses"]]
        assert [each["lost"] for each in members] == [each["counted"] for each in members]
        assert fault["told"] == sum(each["counted"] for each in fault["members"])
        assert (fault["told"] > 0) is ("node 2" not in kind)


@namespaces
@pytest.mark.timeout(900)
def test_a_soak_leaves_nothing_behind(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    found = figures_of(figures, "bench.cluster", "--quick", "--soak", "1")["soak"]
    assert found["answered"] == found["asked"] > 0
    assert len(found["away"]) == 1
    assert found["base"]["subscriptions"] == found["end"]["subscriptions"] > 0
    assert found["base"]["brokered"] == found["end"]["brokered"] > 0
    assert len(found["end"]["processes"]) == 8


def test_there_are_faults_for_each_broker() -> None:
    assert BROKERS.keys() == FAULTS.keys()


def client(tag: str, *lacks: int, **changes: Any) -> Client:
    facts: dict[str, Any] = {"transports": "polling", "worker": 1, "noticed": [], "ended": []}
    facts |= {"left": 0, "upgraded": 0, "lost": len(lacks), "twice": 0} | changes
    return Client(tag=tag, lacks=list(lacks), **facts)


SONGS = [Song(number, "a" if number % 2 else "b", answered=number != 4) for number in range(6)]


def lost_of(clients: list[Client], missed: int) -> Loss:
    """What the member `a` lost, which had counted 10 before and has counted as many more."""
    (loss,) = losses({"a": Counted(1, 10)}, {"a": Counted(1, 10 + missed)}, clients, SONGS)
    return loss


def test_a_loss_is_what_all_that_stayed_on_a_member_lack() -> None:
    loss = lost_of([client("a", 0, 2), client("a", 0, 2), client("b")], 2)
    assert (loss.witnesses, loss.lost, loss.alone, loss.counted) == (2, 2, 0, 2)
    assert loss.is_exact
    assert not lost_of([client("a", 0, 2), client("b")], 1).is_exact
    assert not lost_of([client("a", 0), client("b")], 2).is_exact


def test_what_one_of_them_lacks_alone_is_no_loss_of_the_member() -> None:
    loss = lost_of([client("a", 0, 2), client("a", 0), client("b")], 1)
    assert (loss.lost, loss.alone) == (1, 1)
    assert not loss.is_exact


def test_clients_that_noticed_something_are_no_witnesses() -> None:
    ended = [Connection("a", "polling")]
    others = [client("a", 1, 2, 3, ended=ended), client("a", 5, left=1), client("a", worker=0)]
    loss = lost_of([client("a", 0), *others, client("a", 5, noticed=["ping timeout"])], 1)
    assert (loss.witnesses, loss.lost) == (1, 1)
    assert lost_of([*others, client("b")], 7).is_exact


def test_a_broadcast_without_an_answer_that_nobody_has_was_not_made() -> None:
    assert lost_of([client("a", 2, 4), client("b", 4)], 1).is_exact
    assert lost_of([client("a", 2, 4), client("b")], 2).is_exact


def test_a_new_member_has_counted_from_nothing() -> None:
    (loss,) = losses({}, {"c": Counted(2, 0)}, [client("c", 0)], SONGS)
    assert (loss.node, loss.counted) == (2, 0)


def made_fault(counted: int = 3, told: int = 5, twice: int = 0) -> Fault:
    members = [Loss("a", 1, 4, 3, 0, counted), Loss("b", 2, 0, 0, 0, 2)]
    facts = (told, 2, twice, 1, {"polling": 1, "websocket": 0}, 0.5, 1.25)
    return Fault("`FLUSHALL`", "Redis", 10, 7, members, *facts)


def test_a_fault_is_clean_if_all_is_counted() -> None:
    assert made_fault().is_clean
    assert not made_fault(counted=4, told=6).is_clean
    assert not made_fault(told=6).is_clean
    assert not made_fault(twice=1).is_clean
    row = "| `FLUSHALL` | 7 | 3, - | 3, 2 | 0 | 1 | 1 polling | 1.2 s |"
    assert row in faults_table([made_fault()])
    assert "| NOT EXACT: `FLUSHALL` | 7 |" in faults_table([made_fault(twice=1)])


def test_a_room_is_clean_if_nobody_notices_anything() -> None:
    facts = (9, 8, 7, 0, 0, 0, 0, 0)
    assert Room("NATS", 3, 2, {"a": 1, "b": 2}, *facts, {}, 1.0).is_clean
    noticed = Room("NATS", 3, 2, {"a": 1, "b": 2}, *facts, {"transport error 400": 1}, 1.0)
    assert not noticed.is_clean
    row = "| NATS | 1, 2 | 6 | 0 | 0 | 0 | 0 | 1 transport error 400 | 9 | 8 | 7 |"
    assert row in rooms_table([noticed])


def test_a_freeze_may_add_five_milliseconds() -> None:
    quiet, good, bad = (Delays(9, 0.001, p99, 0.01) for p99 in (0.002, 0.0069, 0.0071))
    assert Local("Redis", 4, 1, (quiet, good), (quiet, good)).is_clean
    late = Local("Redis", 4, 1, (quiet, good), (quiet, bad))
    assert not late.is_clean
    row = "| broadcasts (Redis) | 9, 9 | 1.00, 1.00 ms | 2.00, 7.10 ms | 10.0, 10.0 ms | +5.10 ms |"
    assert row in local_table([late])


def test_what_is_not_good_in_a_soak_is_named() -> None:
    base = Held({"worker 1": Holdings(50 * MB, MB, 4, 1, 1, {})}, 28, 28)
    end = Held({"worker 1": Holdings(60 * MB, MB, 4, 9, 1, {})}, 28, 21)
    found = Soak("Redis", 12, 60.0, [1.0, 2.0], 10, 9, 1, 5, 6, ["a fault"], base, end)
    assert found.problems == (
        "tasks of the worker 1 grew from 1 to 9",
        "memory of the worker 1 grew from 50.0 to 60.0 MB",
        "brokered: 28 before and 21 after",
        "1 of 10 calls were not answered",
        "a fault",
    )
    assert "PROBLEM: a fault" in soak_text(found)
