"""The packets in flight: each counts while it waits, and never after, whatever becomes of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from math import inf

import pytest

from gateway.limits import Limits, NamespaceLimits
from gateway.runtime.blueprint import Generation
from gateway.runtime.connection import Connection
from gateway.runtime.load import InFlight
from gateway.testing import TestGateway
from tests.reload.edited_daemon import until

CONFIG = """
{limits}
namespaces:
  /: &waiting
    routes:
      go: plugin.go
      let: plugin.let
      free: plugin.free
      ask: plugin.ask
      late: {{use: plugin.stuck, timeout: 10ms}}
      late_in_turn: {{use: plugin.stuck, timeout: 10ms, order: serial}}
      turn: {{use: plugin.go, order: serial}}
      leaving: {{use: plugin.stuck, on_disconnect: cancel}}
      fails: plugin.fails
  /other: *waiting
"""

PLUGIN = """
import asyncio

gate = asyncio.Event()

async def go(ctx):
    await gate.wait()

async def let(ctx):
    gate.set()

async def free(ctx):
    pass

async def ask(ctx):
    await ctx.socket.call("question")

async def stuck(ctx):
    await asyncio.Event().wait()

async def fails(ctx):
    await gate.wait()
    raise ValueError("a fault")
"""


@pytest.fixture
def serve(scenario):
    """Make a gateway with these limits."""
    return lambda limits="": scenario(CONFIG.format(limits=limits), plugin=PLUGIN)


def in_flight(gateway: TestGateway) -> InFlight:
    return gateway._server.dispatcher.in_flight


def connections(gateway: TestGateway) -> list[Connection]:
    return list(gateway._server.hub.rooms)


async def all_done(gateway: TestGateway, *connections: Connection) -> None:
    """Wait until nothing is counted; one too few would be waited for in vain."""
    counts = in_flight(gateway)
    await until(lambda: counts.count == 0)
    assert not any(counts._in.values())
    assert all(connection.in_flight == 0 for connection in connections)


async def test_those_that_wait_count_in_all_by_namespace_and_by_socket(serve) -> None:
    async with serve() as gateway:
        first, second = await gateway.connect(), await gateway.connect("/other")
        for client in (first, first, second):
            await client.emit("go")
        counts, there = in_flight(gateway), connections(gateway)
        assert counts.count == 3
        assert counts._in == {"/": 2, "/other": 1}
        assert [connection.in_flight for connection in there] == [2, 1]
        await first.call("let")
        await all_done(gateway, *there)


async def test_one_that_waits_for_nothing_is_never_counted(serve) -> None:
    async with serve() as gateway:
        client = await gateway.connect()
        await client.emit("free")
        assert in_flight(gateway)._in == {}


@pytest.mark.parametrize("event", ["go", "turn", "fails"])
async def test_one_that_ends_is_counted_out(serve, event: str) -> None:
    async with serve() as gateway:
        client = await gateway.connect()
        for _ in range(3):
            await client.emit(event)
        assert in_flight(gateway).count == 3
        await client.call("let")
        await all_done(gateway, *connections(gateway))


@pytest.mark.parametrize("event", ["late", "late_in_turn"])
async def test_one_that_takes_too_long_is_counted_out(serve, event: str) -> None:
    async with serve() as gateway:
        client = await gateway.connect()
        for _ in range(2):
            await client.emit(event)
        assert in_flight(gateway).count == 2
        await all_done(gateway, *connections(gateway))


@pytest.mark.parametrize("event", ["leaving", "ask"])
async def test_one_that_ends_with_its_client_is_counted_out(serve, event: str) -> None:
    async with serve() as gateway:
        client = await gateway.connect()
        await client.emit(event)
        there = connections(gateway)
        assert in_flight(gateway).count == 1
        await client.lose()
        await all_done(gateway, *there)


@pytest.mark.parametrize("event", ["go", "turn"])
async def test_one_that_outlives_its_client_counts_until_it_ends(serve, event: str) -> None:
    async with serve() as gateway:
        client, other = await gateway.connect(), await gateway.connect()
        for _ in range(2):
            await client.emit(event)
        there = connections(gateway)
        await client.lose()
        assert in_flight(gateway).count == 2
        await other.call("let")
        await all_done(gateway, *there)


@pytest.mark.parametrize("event", ["go", "turn", "ask", "leaving"])
async def test_one_that_is_cancelled_by_the_drain_is_counted_out(serve, event: str) -> None:
    gateway = serve()
    gateway.drain = 0.0
    async with gateway:
        client = await gateway.connect()
        for _ in range(2):
            await client.emit(event)
        there = connections(gateway)
        assert in_flight(gateway).count == 2
    await all_done(gateway, *there)


@pytest.mark.parametrize("limit", ["handlers", "handlers_per_socket"])
async def test_one_that_is_refused_is_not_counted(serve, limit: str) -> None:
    async with serve(f"limits: {{{limit}: 2}}") as gateway:
        client = await gateway.connect()
        for _ in range(3):
            await client.emit("go")
        [refusal] = await client.call("let")
        assert refusal["error"]["code"] == "busy"
        assert in_flight(gateway).count == 2
        assert gateway._server.dispatcher.outcomes["busy"] == 2
        there = connections(gateway)
        gateway.drain = 0.0
    await all_done(gateway, *there)


class TestRefusals:
    """By counts that are set by hand."""

    @pytest.fixture
    async def generation(self, serve):
        async with serve() as gateway:
            yield gateway._server.live.current

    @pytest.fixture
    async def connection(self, serve):
        async with serve() as gateway:
            await gateway.connect()
            [connection] = connections(gateway)
            yield connection

    @staticmethod
    def bounded(generation: Generation, limits: Limits) -> Generation:
        return replace(generation, blueprint=replace(generation.blueprint, limits=limits))

    @pytest.mark.parametrize(
        ("limits", "own", "refused"),
        [
            (Limits(), NamespaceLimits(), None),
            (Limits(handlers=3), NamespaceLimits(), None),
            (Limits(handlers=2), NamespaceLimits(), "handlers"),
            (Limits(), NamespaceLimits(handlers=2), "handlers"),
            (Limits(), NamespaceLimits(handlers_per_socket=2), "handlers_per_socket"),
            (Limits(handlers=2), NamespaceLimits(handlers_per_socket=2), "handlers_per_socket"),
        ],
    )
    async def test_two_are_enough_where_there_may_be_two(
        self,
        generation: Generation,
        connection: Connection,
        limits: Limits,
        own: NamespaceLimits,
        refused: str | None,
    ) -> None:
        counts = InFlight()
        for _ in range(2):
            counts.enter(connection)
        bounded = self.bounded(generation, limits)
        namespace = replace(generation.blueprint.namespaces["/"], limits=own)
        assert counts.refuses(connection, bounded, namespace) == refused
        counts.leave(connection)
        assert counts.refuses(connection, bounded, namespace) is None

    @pytest.mark.parametrize(("most", "crowd"), [(1, 1), (5, 4), (10, 8), (10_000, 8_000)])
    async def test_nobody_new_is_let_in_at_four_fifths(
        self, generation: Generation, most: int, crowd: int
    ) -> None:
        counts = InFlight()
        bounded = self.bounded(generation, Limits(handlers=most))
        counts.count = crowd - 1
        assert counts.refuses_newcomers(bounded) is None
        counts.count = crowd
        assert counts.refuses_newcomers(bounded) == "handlers"
        unlimited = self.bounded(generation, Limits(handlers=inf))
        assert counts.refuses_newcomers(unlimited) is None

    async def test_a_late_loop_refuses_newcomers_who_is_new_at_once_and_packets_when_it_stays_late(
        self, generation: Generation, connection: Connection
    ) -> None:
        counts = InFlight()
        namespace = generation.blueprint.namespaces["/"]
        counts.load.is_high = True
        assert counts.refuses_newcomers(generation) == "overload_after"
        assert counts.load.refuse_at == inf
        assert counts.refuses(connection, generation, namespace) is None
        counts.load.refuse_at = asyncio.get_running_loop().time() - 1
        assert counts.refuses(connection, generation, namespace) == "overload_after"
        counts.load.stop()
        assert counts.refuses(connection, generation, namespace) is None
        assert counts.refuses_newcomers(generation) is None
