"""`call` on a target: one answer a socket, within a time."""

from __future__ import annotations

import asyncio

import pytest

from tests.runtime.doing import DO

CONFIG = """
limits: {answer_buffer: 100}
namespaces:
  /:
    routes: {do: plugin.do}
"""

PLUGIN = (
    DO
    + """
import asyncio
"""
)

ASK = (
    "answers = await ctx.socket.broadcast.call('how many?', 7, timeout={}); "
    "return [answers.answers, list(answers.missing)]"
)


async def three(gateway):
    return [await gateway.connect() for _ in range(3)]


def asking(client, timeout=3600):
    return asyncio.create_task(client.call("do", ASK.format(timeout)))


def waiting(gateway):
    """The sockets that a call waits for."""
    return [member.socket.id for member in gateway._server.hub.rooms if member.calls]


async def test_answers_come_by_socket(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        asker, ada, eve = await three(gateway)
        asked = asking(asker)
        for client, answer in ((eve, [1, b"\x00"]), (ada, [])):
            question = await client.receive("how many?")
            assert question.args == [7]
            await client.answer(question, *answer)
        assert await asked == [[{ada.id: [], eve.id: [1, b"\x00"]}, []]]
        assert waiting(gateway) == []


async def test_those_without_an_answer_in_time_are_missing(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        asker, ada, eve = await three(gateway)
        assert await asker.call("do", ASK.format(0.01)) == [[{}, [ada.id, eve.id]]]
        assert waiting(gateway) == []
        await ada.answer(await ada.receive("how many?"), "too late")
        assert await asker.call("do", ASK.format(0.01)) == [[{}, [ada.id, eve.id]]]


async def test_who_leaves_is_missing_at_once(scenario, caplog):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        asker, ada, eve = await three(gateway)
        asked = asking(asker)
        await ada.answer(await ada.receive("how many?"), 1)
        await eve.receive("how many?")
        await eve.lose()
        assert await asked == [[{ada.id: [1]}, [eve.id]]]
    assert caplog.messages == []


async def test_nobody_to_ask_is_no_answer(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        asker = await gateway.connect()
        assert await asker.call("do", ASK.format(3600)) == [[{}, []]]


async def test_answers_do_not_get_mixed_up(scenario):
    """A call of one and a call of many have different ids, whoever asks first."""
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        asker, ada, eve = await three(gateway)
        one = asyncio.create_task(ada.call("do", "return (await ctx.socket.call('q'))[0]"))
        first = await ada.receive("q")
        many = asking(asker)
        second, third = await ada.receive("how many?"), await eve.receive("how many?")
        two = asyncio.create_task(ada.call("do", "return (await ctx.socket.call('q'))[0]"))
        fourth = await ada.receive("q")
        assert len({first.id, second.id, fourth.id}) == 3
        await ada.answer(fourth, "two")
        await ada.answer(second, "many")
        await ada.answer(first, "one")
        await eve.answer(third)
        assert (await one, await two) == (["one"], ["two"])
        assert await many == [[{ada.id: ["many"], eve.id: []}, []]]


async def test_the_answers_of_one_call_are_bounded(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        clients = [await gateway.connect() for _ in range(5)]
        asked = asking(clients[0])
        for client in clients[1:]:
            await client.answer(await client.receive("how many?"), b"x" * 60)
        first, second, *rest = (client.id for client in clients[1:])
        assert await asked == [[{first: [b"x" * 60], second: [b"x" * 60]}, rest]]
        assert gateway._server.engine.limits_met.counts["answer_buffer"] == 2


async def test_the_bytes_of_the_text_count_as_well(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        asker, ada, eve = await three(gateway)
        asked = asking(asker)
        await ada.answer(await ada.receive("how many?"), "x" * 90, b"x")
        await eve.answer(await eve.receive("how many?"), 1)
        assert await asked == [[{ada.id: ["x" * 90, b"x"]}, [eve.id]]]


async def test_a_call_that_is_cancelled_waits_for_nobody(scenario):
    async with scenario(
        CONFIG.replace("do: plugin.do", "do: {use: plugin.do, on_disconnect: cancel}"),
        plugin=PLUGIN,
    ) as gateway:
        asker, ada, eve = await three(gateway)
        await asker.emit("do", ASK.format(3600))
        await ada.receive("how many?")
        assert waiting(gateway) == [ada.id, eve.id]
        await asker.lose()
        await ada.call("do", "await asyncio.sleep(0)")
        assert waiting(gateway) == []


@pytest.mark.parametrize("code", ["await ctx.namespace.volatile.call('q')"])
async def test_a_call_cannot_be_volatile(scenario, caplog, code):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        client = await gateway.connect()
        [answer] = await client.call("do", code)
        assert answer["error"]["code"] == "internal"
        assert "call() cannot be volatile: it waits for every answer" in caplog.text
