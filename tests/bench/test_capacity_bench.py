"""The model of a cluster is a pure function, and the bench that fits it runs, small.

How large its errors are is not looked at here: a short run has large ones.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.sizing.broker import Brokered, fitted
from bench.sizing.model import Constants, Cost, Fleet, Load, needs, room, touched
from tests.bench.run_bench import figures_of

CONSTANTS = Constants(
    call=20.0,
    emit=Cost(30.0, 4.0),
    deliver=Cost(1.0, 5.0),
    publish=Cost(10.0, 9.0),
    receive=Cost(8.0, 11.0),
    encode=3.0,
    broker=Cost(6.0, 0.5),
    subscriber=Cost(4.0, 0.2),
    connect=250.0,
    heartbeat=25.0,
    polled=80.0,
    beat=30.0,
    idle=1000.0,
    link=60.0,
    process=60e6,
    socket=10e3,
    polling=4e3,
    membership=200.0,
    message=200.0,
)


@pytest.mark.parametrize(
    ("sockets", "members", "expected"),
    [(1, 1000, 1), (10, 1000, 9.96), (10, 4, 3.77), (10_000, 4, 4), (0, 8, 0), (5, 1, 1)],
)
def test_a_room_touches_the_members_that_chance_gives_it(
    sockets: int, members: int, expected: float
) -> None:
    assert touched(sockets, members) == pytest.approx(expected, abs=0.01)


def test_a_cost_is_fitted_to_two_batches() -> None:
    cost = Cost(32.0, 2.0)
    assert Cost.fitted(cost.of(1), cost.of(16), 16) == cost
    assert Cost.fitted(2.0, 3.0, 16) == Cost(0.0, 3.0), "none is below nothing"


def test_the_cost_of_a_broker_is_fitted_to_two_numbers_of_subscribers() -> None:
    found = [
        Brokered(members, batch, 6 / batch + 0.5 + members * (4 / batch + 0.25))
        for members in (1, 16)
        for batch in (1, 16)
    ]
    message, subscriber = fitted(found)
    assert (message.write, message.each) == pytest.approx((6, 0.5))
    assert (subscriber.write, subscriber.each) == pytest.approx((4, 0.25))


def test_one_member_pays_for_no_bus() -> None:
    load = Load(members=1, touched=1, sockets=10)
    assert room(CONSTANTS, load).members(load) == 34 + 10 * 6


def test_each_member_receives_and_those_touched_deliver() -> None:
    load = Load(members=8, touched=4, sockets=40)
    found = room(CONSTANTS, load)
    assert found.sender == 34 + 19 + 10 * 6
    assert found.there == 19 + 3 + 10 * 6
    assert found.elsewhere == 19
    assert found.broker == 6.5 + 8 * 4.2
    assert found.sent == 8 * 200
    assert found.members(load) == found.sender + 3 * found.there + 4 * found.elsewhere


def test_many_messages_in_a_write_cost_less() -> None:
    one, many = Load(4, 4, 40), Load(4, 4, 40, batch=32)
    assert room(CONSTANTS, many).members(many) < room(CONSTANTS, one).members(one)
    assert room(CONSTANTS, many).broker < room(CONSTANTS, one).broker / 10


def test_what_grows_with_the_square_of_the_members() -> None:
    small, large = (needs(CONSTANTS, Fleet(0, members, messages=0)) for members in (100, 1000))
    assert large.broker["beats"] / small.broker["beats"] == pytest.approx(100, rel=0.02)
    assert large.member["links"] / small.member["links"] == pytest.approx(10, rel=0.02)
    assert large.connections - small.connections == 2 * 900


def test_a_fleet_is_the_sum_of_what_its_sockets_do() -> None:
    fleet = Fleet(20_000, 2, messages=100, room=10, links=False)
    found = needs(CONSTANTS, fleet)
    assert found.member["pings"] == pytest.approx(10_000 / 25 * 25e-6)
    assert found.member["connections"] == pytest.approx(10_000 / 1200 * 250e-6)
    assert found.member["calls"] == pytest.approx(10_000 * 0.02 * 20e-6)
    assert found.member["deliveries"] == pytest.approx(100 * 10 * 6e-6 / 2)
    assert found.member["links"] == 0
    assert found.memory == 60e6 + 10_000 * (10e3 + 3 * 200)
    assert found.sent == 100 * 2 * 200
    one = needs(CONSTANTS, replace(fleet, lists=50.0))
    assert one.broker["lists"] > 0 == found.broker["lists"]


def test_a_small_run_checks_its_points_and_draws_charts(tmp_path: Path) -> None:
    options = ("--quick", "--charts", str(tmp_path / "charts"))
    found = figures_of(tmp_path / "figures.json", "bench.capacity", *options)
    points = [(each["members"], each["touched"]) for each in found["checked"]]
    assert points == [(2, 1), (2, 2), (4, 1), (4, 2), (4, 4)]
    for each in found["checked"]:
        assert min(each["predicted"], each["measured"], each["broker_measured"]) > 0
    constants = found["constants"]
    assert min(constants[name] for name in ("call", "connect", "heartbeat", "beat", "idle")) > 0
    for name in ("capacity-check", "capacity-fleet"):
        drawn = ElementTree.parse(tmp_path / f"charts/{name}.svg").getroot()
        assert len(drawn.findall("{*}polyline")) in {4, 5}
