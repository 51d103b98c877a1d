"""Limits of the gateway hold in `TestGateway` as well, but for how late it runs."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.testing import Refused

CONFIG = """
limits: {sockets: 2, handlers: 5, overload_after: 50ms}
namespaces:
  /: {routes: {say: plugin.say}}
"""

PLUGIN = """
import asyncio

async def say(ctx):
    await asyncio.sleep(0)
    return "said"
"""


async def test_one_socket_too_many_is_refused(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        first = await gateway.connect()
        await gateway.connect()
        with pytest.raises(ConnectionError, match="HTTP 503"):
            await gateway.connect()
        await first.lose()
        await gateway.connect()


async def test_one_socket_too_many_in_a_namespace_is_refused(scenario):
    config = CONFIG.replace("/: {", "/: {limits: {sockets: 1}, ").replace(
        "sockets: 2", "sockets: 9"
    )
    async with scenario(config, plugin=PLUGIN) as gateway:
        first = await gateway.connect()
        with pytest.raises(Refused) as refused:
            await gateway.connect()
        assert refused.value.message == "too much to do"
        assert refused.value.data == {"code": "busy", "data": {"retry_after": 1}}
        await first.disconnect()
        await gateway.connect()


async def test_a_client_that_breaks_the_protocol_is_cut_off(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        client = await gateway.connect()
        await client.send("9 is no type of packet")
        await client.wait_disconnected()
        assert not client.connected
        with pytest.raises(ConnectionError):
            await client.call("say")


async def test_a_client_that_does_not_read_is_disconnected(scenario):
    config = CONFIG.replace("{sockets: 2,", "{send_packets: 10,")
    async with scenario(config, plugin=PLUGIN) as gateway:
        client, other = await gateway.connect(), await gateway.connect()
        client.pause()
        for _ in range(11):
            await gateway.gateway.of("/").emit("news")
        await client.wait_disconnected()
        assert not client.connected
        other.pause()
        await gateway.gateway.of("/").emit("more")
        other.resume()
        for name in ("news",) * 11 + ("more",):
            assert (await other.receive()).name == name


async def test_a_reload_changes_them(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        await gateway.connect()
        await gateway.connect()
        scenario(CONFIG.replace("sockets: 2", "sockets: 3"), plugin=PLUGIN)  # writes the files
        await gateway.reload()
        await gateway.connect()
        with pytest.raises(ConnectionError):
            await gateway.connect()


async def test_a_test_may_take_its_time(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        await gateway.connect()
        time.sleep(0.5)  # noqa: ASYNC251
        for _ in range(3):  # turns of a loop that is late
            await asyncio.sleep(0)
        client = await gateway.connect()
        assert await client.call("say") == ["said"]
