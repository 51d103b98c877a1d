"""The repository's own example, as the lesson tells it, with the stock JavaScript clients."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest

from tests.daemon_in_loop import served
from tests.deadline import deadline
from tests.js.install import NODE

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests" / "js" / "quickstart.js"
TRANSPORTS = ["polling,websocket", "websocket"]


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_the_program_of_the_lesson_prints_what_the_lesson_says(js_packages, transports):
    async with served(ROOT / "gateway.yaml") as url:
        program = await asyncio.create_subprocess_exec(
            NODE, PROGRAM, url, transports, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await program.communicate()
    assert printed.decode().splitlines() == [
        "connect",
        "res auth!Hello Man!!",
        "res packet!Hello Man!!",
        "res Hello Man!!",
    ]


@pytest.mark.parametrize("version", [4, 3])
@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_both_sides_see_the_flow_in_order(js, caplog, version, transports):
    caplog.set_level(logging.INFO, "sockgw.plugin")
    async with served(ROOT / "gateway.yaml") as url:
        client = await js.connect(url, version=version, transports=transports.split(","))
        await client.emit("chat", "hello world!")
        assert [await client.receive("res") for _ in range(3)] == [
            ["auth!Hello Man!!"],
            ["packet!Hello Man!!"],
            ["Hello Man!!"],
        ]
        seen = [report.event for report in client.log if report.event in ("connect", "res")]
        assert seen == ["connect", "res", "res", "res"]
        await client.disconnect()
    assert [record.message for record in caplog.records] == [
        "['chat', 'hello world!']",
        f"chat : hello world! : {os.getpid()}",
        "packet response!",
        "disconnect!",
    ]


async def test_the_chat_namespace_has_no_packet_chain(js, caplog):
    caplog.set_level(logging.INFO, "sockgw.plugin")
    async with served(ROOT / "gateway.yaml") as url:
        client = await js.connect(url, namespace="/chat")
        await client.emit("chat", "hello world!")
        assert [await client.receive("res") for _ in range(2)] == [
            ["auth!Hello Man!!"],
            ["Hello Man!!"],
        ]
        await client.disconnect()
    assert [record.message for record in caplog.records] == [
        f"chat : hello world! : {os.getpid()}",
        "disconnect!",
    ]


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_a_client_of_2_x_is_told_which_version_it_needs(js, transports):
    async with served(ROOT / "gateway.yaml") as url:
        client = await js.client(url, version=2, transports=transports.split(","))
        await client.receive("connect_error")
        async with deadline():
            answer = await _get(url + "/socket.io/?EIO=3&transport=polling")
    assert answer == {
        "code": 5,
        "message": "Unsupported protocol version",
        "hint": "this server speaks Engine.IO 4: use socket.io-client 3 or 4",
    }


async def _get(url: str) -> object:
    import aiohttp

    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 400
        return await response.json()
