from __future__ import annotations

import logging

import pytest

from gateway.testing import TestClient
from tests.builtin.conftest import Guarded, use

PLUGINS = {
    "plugin": """
        async def ids(ctx):
            ctx.log.warning("here")
            return ctx.state["request_id"], ctx.socket.data.get("request_id")

        async def greet(ctx, next):
            await ctx.socket.emit("id", ctx.state["request_id"])
            await next()
    """
}
ROUTES = {"ids": "plugin.ids"}


async def ids(client: TestClient, *args: object) -> list[str]:
    return [str(each) for each in await client.call("ids", *args)]


async def test_every_packet_has_an_id_of_its_own(guarded: Guarded) -> None:
    chain = [use("request_id", {})]
    async with guarded(packet_middleware=chain, routes=ROUTES, plugins=PLUGINS) as gateway:
        clients = [await gateway.connect() for _ in range(2)]
        given = [await ids(client) for client in clients * 3]
    assert len({first for first, _ in given}) == 6
    assert {second for _, second in given} == {"None"}


async def test_ids_of_packets_begin_with_that_of_the_connection(guarded: Guarded) -> None:
    chain = [use("request_id", {"header": "X-Request-ID"})]
    async with guarded(
        connection_middleware=[*chain, "plugin.greet"],
        packet_middleware=chain,
        routes=ROUTES,
        plugins=PLUGINS,
    ) as gateway:
        client = await gateway.connect(headers={"X-Request-Id": "trace/4711"})
        assert (await client.receive("id")).args == ["trace/4711"]
        packets = [await ids(client) for _ in range(2)]
    assert [connection for _, connection in packets] == ["trace/4711"] * 2
    assert all(packet.startswith("trace/4711-") for packet, _ in packets)
    assert packets[0] != packets[1]


@pytest.mark.parametrize("sent", ["", "two words", "line\nline", "é", "x" * 129])
async def test_an_id_that_could_break_a_line_is_not_taken(guarded: Guarded, sent: str) -> None:
    chain = [use("request_id", {"header": "x-request-id"}), "plugin.greet"]
    async with guarded(connection_middleware=chain, plugins=PLUGINS) as gateway:
        client = await gateway.connect(headers={"x-request-id": sent})
        [made] = (await client.receive("id")).args
    assert isinstance(made, str)
    assert made != sent
    assert made.isascii()


async def test_the_id_is_on_log_lines(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sockgw")
    chain = [use("request_id", {}), use("log", {})]
    async with guarded(packet_middleware=chain, routes=ROUTES, plugins=PLUGINS) as gateway:
        [packet, _] = await ids(await gateway.connect())
    facts = [vars(record).get("request_id") for record in caplog.records]
    assert facts == [packet, packet]
