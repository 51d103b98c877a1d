"""The engine on NATS keeps the contract of the bus, and counts what is lost when NATS fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.cluster.bus import Bus, Channel, Kind
from gateway.cluster.nats import NatsBus, NatsServer
from tests.cluster.bus_contract import CHAT, CONTRACT, OTHER, Heard, Sender
from tests.deadline import until
from tests.programs.nats import Nats, nats

NAMESPACES = ("/chat", OTHER.namespace)
BEAT = 0.3
MEMBERS = Channel(Kind.REQUEST, "/")


class Network:
    """Members that are joined by a NATS server."""

    def __init__(self, server: Nats) -> None:
        self.all: dict[str, NatsBus] = {}
        self._server = NatsServer((server.url,))

    async def join(self, tag: str) -> NatsBus:
        bus = NatsBus(tag, self._server, "a name. *", BEAT)
        bus.serve(NAMESPACES)
        bus.start()
        await until(lambda: set(bus.members) >= self.all.keys())
        await until(lambda: all(tag in each.members for each in self.all.values()))
        self.all[tag] = bus
        return bus

    async def leave(self, bus: Bus) -> None:
        gone = self.all.pop(bus.tag)
        client = gone._client
        gone.abort()
        if client is not None:
            await client.close()

    @asynccontextmanager
    async def freeze(self, bus: Bus) -> AsyncIterator[None]:
        """Nothing is written within one turn of the loop."""
        yield

    async def close(self) -> None:
        for bus in self.all.values():
            await bus.close()


@pytest.fixture
async def server() -> AsyncIterator[Nats]:
    async with nats() as running:
        yield running


@pytest.fixture
async def network(server: Nats) -> AsyncIterator[Network]:
    made = Network(server)
    yield made
    await made.close()


@pytest.mark.parametrize("clause", CONTRACT, ids=lambda each: each.__name__)
async def test_the_contract_is_kept(clause: Any, network: Network) -> None:
    await clause(network)


async def test_other_namespaces_are_not_received(network: Network) -> None:
    one, two = [await network.join(tag) for tag in ("one..", "two..")]
    two.serve(["/else"])
    heard = Heard(two)
    for to in (None, "two.."):
        one.publish(CHAT, b"dropped", to)
        one.publish(MEMBERS, b"taken", to)
    await until(lambda: len(heard.messages) == 2)
    assert heard.messages == [(MEMBERS, b"taken")] * 2


async def lost_and_counted(network: Network, server: Nats, *, freezes: bool) -> None:
    one, two = [await network.join(tag) for tag in ("one..", "two..")]
    heard, sender = Heard(two), Sender(one)
    sent = 0

    async def send_while(condition: Any) -> None:
        nonlocal sent
        while condition():
            sent += 1
            sender.send()
            await until(lambda: True)

    await send_while(lambda: sent < 100)
    await until(lambda: len(heard.numbers["one.."]) == 100)
    if freezes:
        server.freeze()
    else:
        await server.kill()
    await until(lambda: not one.is_up and not two.is_up)
    await send_while(lambda: sent < 150)
    await until(lambda: one.counts.unpublished["away"] == 50)
    if freezes:
        server.thaw()
    else:
        await server.start()
    await until(lambda: one.is_up and two.is_up)
    await until(lambda: "two.." in one.members and "one.." in two.members)
    await send_while(lambda: sent < 160)
    await until(lambda: heard.numbers["one.."][-1] == 160)
    assert heard.numbers["one.."] == [*range(1, 101), *range(151, 161)]
    assert heard.missed == 50
    assert (one.state.changes, one.state.fault) == (1, "")


@pytest.mark.parametrize("freezes", [False, True], ids=["killed", "frozen"])
async def test_what_is_lost_is_counted(network: Network, server: Nats, freezes: bool) -> None:
    await lost_and_counted(network, server, freezes=freezes)
