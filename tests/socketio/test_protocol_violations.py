"""Whoever breaks the protocol is closed, at once and without a fault in the log.

On both transports, at short pings and at long ones: none of these waits for a ping limit (F6), and
none for attachments that do not come or do not fit (F7).
"""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from tests.socketio.bad_packets import BAD, Message
from tests.socketio.conftest import Open

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG = """
namespaces:
  /:
    routes:
      a: plugin.reply
      note: plugin.note
      disconnect: plugin.note
      log: plugin.log
  /slow:
    connection_middleware: [plugin.slow]
"""

PLUGIN = """
import asyncio

happened = []

async def reply(ctx):
    return tuple(ctx.args)

async def slow(ctx, next):
    await asyncio.Event().wait()

async def note(ctx):
    happened.append(ctx.args[0])

async def log(ctx):
    taken, happened[:] = list(happened), []
    return taken
"""


def packets(messages: list[Message]) -> list[Message]:
    return [f"4{message}" if isinstance(message, str) else message for message in messages]


async def happenings(opened: Open) -> list[str]:
    """What was noted, and why sessions have ended, since this was asked before."""
    async with opened() as watcher:
        await watcher.join()
        await watcher.send('421["log"]')
        answer = await watcher.receive()
    assert isinstance(answer, str)
    return list(json.loads(answer.removeprefix("431"))[0])


async def test_every_violation_ends_its_session(opened, caplog):
    await happenings(opened)
    caplog.set_level(logging.INFO)
    alive = []

    async def violate(messages: list[Message]) -> None:
        async with opened() as client:
            await client.join()
            await client.send(*packets(messages))
            if await client.receive() is not None:
                alive.append(messages)

    for start in range(0, len(BAD), 20):
        await asyncio.gather(*map(violate, BAD[start : start + 20]))
    assert alive == []
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
    told = [line for line in caplog.messages if line.startswith("violation packet by ")]
    assert len(told) < len(BAD)
    assert not any(len(line) > 500 or "\n" in line for line in told)
    assert (await happenings(opened)).count("parse error") == len(BAD)


async def test_an_attachment_that_is_late_is_waited_for(joined):
    await joined.send('452-1["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
    await joined.send(b"\0")
    await joined.send(b"\1")
    assert [await joined.receive() for _ in range(3)] == [
        '462-1[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
        b"\0",
        b"\1",
    ]


async def test_packets_before_a_violation_count_and_those_behind_it_do_not(joined, opened):
    await happenings(opened)
    await joined.send('42["note","before"]', "4x", '42["note","behind"]')
    assert await joined.receive() is None
    assert {"before", "behind"} & {*await happenings(opened)} == {"before"}


async def test_an_event_while_the_chain_is_pending_ends_the_session(client):
    await client.send("40/slow,", '42/slow,["a"]')
    assert await client.receive() is None


async def test_a_second_connect_while_the_chain_is_pending_ends_the_session(client):
    await client.send("40/slow,", "40/slow,")
    assert await client.receive() is None


async def test_a_violation_in_one_namespace_ends_all(joined):
    await joined.send("40/slow,", '421["a"]')
    assert await joined.receive() == "431[]"
    await joined.send("42/slow,[]")
    assert await joined.receive() is None
