"""Floods and crowds, small: everybody is served in the end; how soon is not looked at."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from bench.checkouts import this
from bench.flooding.bodies import BODIES, PACKED, Stall, measure_body
from bench.flooding.cells import Cell, measure
from bench.flooding.costs import cost_of_body, cost_of_rate
from bench.flooding.crowd import gather
from bench.flooding.gateway import Gateway, Program, running
from bench.flooding.hoards import hoard
from bench.flooding.kinds import BODY, KINDS
from bench.flooding.tables import floods_table, markdown
from bench.flooding.wire import Http, WebSocket, join, post
from bench.floods import Floods, failures

PROGRAM = Program(this(), sys.executable)

SENDABLE = [
    (name, on) for name in KINDS for on in ("websocket", "polling") if KINDS[name].runs_on(on)
]
"""The floods and the transports they run on."""


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with running(PROGRAM, settings={"limits": "{overload_after: unlimited}"}) as gateway:
        yield gateway


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.body])
def test_a_body_is_as_large_as_it_may_be(name: str) -> None:
    assert BODY * 0.99 < len(KINDS[name].body) <= BODY or KINDS[name].chunks


@pytest.mark.parametrize("name", BODIES)
def test_a_large_message_is_within_max_payload(name: str) -> None:
    assert BODY * 0.9 < len(BODIES[name]()) <= BODY


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.body])
def test_the_opening_of_a_flood_is_taken(gateway: Gateway, name: str) -> None:
    http = Http(gateway.port)
    with closing(http.line):
        assert join(http, KINDS[name].opening)


def test_a_call_is_answered_on_both_transports(gateway: Gateway) -> None:
    client, http = WebSocket(gateway.port), Http(gateway.port)
    with closing(client.line), closing(http.line):
        client.join(b"40")
        client.send(b'420["say"]')
        assert client.packet() == b"430[]"
        assert http.ask(post(join(http, (b"40",)), b'420["say"]')).status == 200


def test_a_flood_is_measured() -> None:
    cell = measure(PROGRAM, "events", "websocket", 1, 2.0)
    assert cell.calls
    assert cell.lost == 0
    assert cell.sent
    assert cell.faults == ()
    assert "events" in floods_table([cell])


def test_a_large_body_is_measured() -> None:
    for name in ("one string of JSON", *list(PACKED)[:1]):
        stall = measure_body(PROGRAM, name, "websocket", 1)
        assert len(stall.seconds) == len(stall.cpu) == 1


def test_costs_are_measured() -> None:
    assert cost_of_rate(PROGRAM, 100, 0.2).cpu > 0
    assert cost_of_body(PROGRAM, events=100).cpu > 0


@pytest.mark.parametrize("kind", ["half a body", "joined, WebSocket"])
def test_a_crowd_is_held_and_ended(kind: str) -> None:
    crowd = gather(PROGRAM, kind, 20, seconds=0.1)
    assert crowd.held >= 20 - crowd.lost
    assert crowd.faults == ()


@pytest.mark.parametrize("kind", ["a plain session", "4 MB of requests behind a poll"])
def test_a_hoard_is_measured(kind: str) -> None:
    assert hoard(PROGRAM, kind, 1).wanted == 1


GOOD = Cell(
    gateway="this",
    kind="events",
    transport="websocket",
    flooders=1,
    calls=100,
    worst=0.1,
    clock=0.3,
    median=0.001,
    busy=0,
    lost=0,
    newcomers=3,
    refused=0,
    slowest=0.1,
    sent=10**6,
    ended=0,
    cpu=0.9,
    grown=10**6,
    log_lines=10,
    faults=(),
    counted={},
    load=1.0,
)


def test_a_flood_that_nobody_notices_fails_no_bar() -> None:
    assert list(failures(Floods({}, cells=[GOOD]))) == []


@pytest.mark.parametrize(
    ("change", "failure"),
    [
        ({"worst": 0.3}, "a call took 300 ms"),
        ({"busy": 2}, "2 of 100 calls were answered busy"),
        ({"lost": 1}, "1 calls had no answer"),
        ({"refused": 1}, "1 of 3 newcomers were refused"),
        ({"faults": ("Traceback",)}, "1 faults in the log, the first: Traceback"),
    ],
)
def test_a_bar_that_is_not_reached_is_named(change: dict[str, object], failure: str) -> None:
    cell = replace(GOOD, **change)  # type: ignore[arg-type]
    assert list(failures(Floods({}, cells=[cell]))) == [f"events, 1 on websocket: {failure}"]


def test_another_revision_may_fail() -> None:
    cell, stall = replace(GOOD, gateway="f2f56ac", worst=9.0), STALL
    assert (
        list(failures(Floods({}, cells=[cell], stalls=[replace(stall, gateway="f2f56ac")]))) == []
    )


STALL = Stall("this", "{} of JSON", "polling", seconds=[0.06, 0.07, 0.01], cpu=[0.1] * 3, load=1.0)


def test_a_body_that_stops_everybody_is_named() -> None:
    found = list(failures(Floods({}, stalls=[STALL, replace(STALL, seconds=[0.01, 0.04, 0.2])])))
    assert found == ["1 MB of {} of JSON on polling: it stopped everybody for 60 ms"]


def test_the_table_has_a_column_for_each_gateway_and_transport() -> None:
    before = replace(GOOD, gateway="f2f56ac", worst=2.0, busy=1, refused=3)
    assert floods_table([GOOD, before, replace(GOOD, worst=0.2), replace(GOOD, worst=0.9)]) == (
        "| flood | from | websocket, this | websocket, f2f56ac |\n"
        "| --- | --- | --- | --- |\n"
        "| events | 1 | 200 ms | 2,000 ms, 1 busy, 3 not let in |"
    )


def test_no_rows_are_no_table() -> None:
    assert markdown(["a"], []) == ""
