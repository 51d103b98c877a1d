"""Every way a chain can end, seen from the official JavaScript client."""

from __future__ import annotations

import asyncio

import pytest

from tests.deadline import deadline

CONFIG = """
namespaces:
  /:
    connection_middleware: [plugin.door]
    packet_middleware: [plugin.filter]
    connect_timeout: TIMEOUT
    packet_timeout: TIMEOUT
    routes:
      go: plugin.go
      pending: plugin.pending
"""

PLUGIN = """
import asyncio
from gateway import Reject

waiting = 0

async def outcome(wanted, next):
    global waiting
    if wanted == "reject":
        raise Reject("no", "not you", {"try": "later"})
    if wanted == "throw":
        raise ValueError("secret detail")
    if wanted == "hang":
        waiting += 1
        try:
            await asyncio.Event().wait()
        finally:
            waiting -= 1
    if wanted == "return":
        return
    await next()
    if wanted == "twice":
        await next()

async def door(ctx, next):
    await outcome(ctx.socket.handshake.auth.get("door"), next)

async def filter(ctx, next):
    await outcome(ctx.args[0] if ctx.args and ctx.event == "go" else None, next)

async def go(ctx):
    return "done"

async def pending(ctx):
    return waiting
"""


def config(wanted: str = "") -> str:
    """With time-outs that are met, as long as the others take, by what hangs alone."""
    return CONFIG.replace("TIMEOUT", "1s" if wanted == "hang" else "1h")


TRANSPORTS = [["websocket"], ["polling"], ["polling", "websocket"]]


@pytest.mark.parametrize("transports", TRANSPORTS)
@pytest.mark.parametrize(
    ("door", "message", "data"),
    [
        ("reject", "not you", {"code": "no", "data": {"try": "later"}}),
        ("throw", "internal error", {"code": "internal"}),
        ("hang", "connecting took too long", {"code": "timeout"}),
        ("return", "connection refused", {"code": "refused"}),
    ],
)
async def test_a_refused_connection_is_a_connect_error(
    js, gateway, transports, door, message, data
):
    async with gateway(config(door), plugin=PLUGIN) as url:
        client = await js.client(url, transports=transports, auth={"door": door})
        [error] = await client.receive("connect_error")
        assert (error["message"], error["data"]) == (message, data)


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_next_twice_after_the_acceptance_shows_when_the_client_has_left(
    js, gateway, caplog, transports
):
    async with gateway(config(), plugin=PLUGIN) as url:
        client = await js.connect(url, transports=transports, auth={"door": "twice"})
        assert await client.call("go") == ["done"]
        await client.disconnect()
    assert "middleware 'plugin.door' called next() twice" in caplog.text


@pytest.mark.parametrize("transports", TRANSPORTS)
@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ("reject", {"code": "no", "message": "not you", "data": {"try": "later"}}),
        ("throw", {"code": "internal", "message": "internal error"}),
        ("hang", {"code": "timeout", "message": "event 'go' took too long"}),
        ("return", {"code": "dropped", "message": "event 'go' was dropped"}),
        ("twice", {"code": "internal", "message": "internal error"}),
    ],
)
async def test_every_ack_is_answered(js, gateway, transports, wanted, error):
    async with gateway(config(wanted), plugin=PLUGIN) as url:
        client = await js.connect(url, transports=transports)
        assert await client.call("go", wanted) == [{"error": error}]
        assert await client.call("go", "well") == ["done"]


async def test_a_failure_without_an_ack_is_an_error_event(js, gateway):
    async with gateway(config(), plugin=PLUGIN) as url:
        client = await js.connect(url)
        await client.emit("go", "throw")
        assert await client.receive("error") == [
            {"error": {"code": "internal", "message": "internal error"}, "event": "go"}
        ]


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_a_client_gone_while_its_chain_is_pending_leaves_no_ghost(js, gateway, transports):
    async with gateway(config(), plugin=PLUGIN) as url:
        watcher = await js.connect(url)
        pending = await js.client(url, transports=transports, auth={"door": "hang"})
        await until(watcher, 1)
        await pending.close()
        await until(watcher, 0)


async def until(watcher, number: int) -> None:
    async with deadline():
        while await watcher.call("pending") != [number]:
            pass


async def test_twenty_namespaces_of_fifty_clients_never_see_each_others_events(js, gateway):
    rooms = "namespaces:\n" + "".join(
        f"  /room{n}:\n    routes: {{say: plugin.say}}\n" for n in range(20)
    )
    plugin = """
        async def say(ctx, text):
            await ctx.namespace.emit("said", ctx.socket.namespace, text)
    """
    async with gateway(rooms, plugin=plugin) as url:
        clients = {
            n: await asyncio.gather(*(js.connect(url, namespace=f"/room{n}") for _ in range(50)))
            for n in range(20)
        }
        await asyncio.gather(*(members[0].call("say", f"hi {n}") for n, members in clients.items()))
        for n, members in clients.items():
            for member in members:
                assert await member.receive("said") == [f"/room{n}", f"hi {n}"]
        await asyncio.gather(*(members[0].call("say", "end") for members in clients.values()))
        for n, members in clients.items():
            for member in members:
                assert await member.receive("said") == [f"/room{n}", "end"]
                said = [report.args for report in member.log if report.event == "said"]
                assert said == [[f"/room{n}", f"hi {n}"], [f"/room{n}", "end"]]
