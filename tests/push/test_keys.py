"""Idempotency keys: what is asked for twice is done once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.push.keys import Keys
from gateway.push.problems import PushError
from tests.push.conftest import Connect
from tests.push.pushed_gateway import Api

EMIT = {"target": {"namespace": "/shop", "users": ["ann"]}, "event": "paid"}


async def test_the_same_key_100_times_at_once_is_one_emit(api: Api, connect: Connect) -> None:
    phone = await connect("ann")
    headers = {"Idempotency-Key": "order-1"}
    answers = await asyncio.gather(*(api.post("emit", EMIT, headers=headers) for _ in range(100)))
    assert answers == [{"sockets": 1, "missing_members": []}] * 100
    await api.post("emit", {**EMIT, "event": "end"})
    assert [(await phone.next())[0] for _ in range(2)] == ["paid", "end"]


async def test_the_first_answer_is_given_again(api: Api, connect: Connect) -> None:
    headers = {"Idempotency-Key": "order-2"}
    first = await api.post("emit", EMIT, headers=headers)
    phone = await connect("ann")
    assert await api.post("emit", EMIT, headers=headers) == first
    assert phone.events.empty()
    body = {"operations": [{**EMIT, "operation": "emit"}]}
    headers = {"Idempotency-Key": "batch-1"}
    for _ in range(2):
        await api.post("batch", body, headers=headers)
    assert (await phone.next())[0] == "paid"
    assert phone.events.empty()


async def test_another_request_with_the_key_is_refused(api: Api) -> None:
    headers = {"Idempotency-Key": "order-3"}
    await api.post("emit", EMIT, headers=headers)
    text = "this Idempotency-Key was used for another request"
    for operation, body in (("emit", {**EMIT, "event": "x"}), ("call", EMIT)):
        found = await api.refused(operation, body, headers=headers)
        assert found == (422, "key_reused", text)
    assert await api.post("emit", EMIT, headers=headers, token="shop")  # a key of its own


async def test_a_push_that_failed_may_be_tried_again(api: Api) -> None:
    headers = {"Idempotency-Key": "order-4"}
    wrong = {**EMIT, "event": "connect"}
    assert (await api.refused("emit", wrong, headers=headers))[1] == "bad_request"
    assert await api.post("emit", EMIT, headers=headers)


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_what_is_no_key(api: Api, key: str) -> None:
    found = await api.refused("emit", EMIT, headers={"Idempotency-Key": key})
    assert found == (400, "bad_key", "an Idempotency-Key has 1 to 255 characters")


class Work:
    """Counts how often it is done."""

    def __init__(self, answer: bytes = b"{}") -> None:
        self.times = 0
        self.answer = answer
        self.may_end = asyncio.Event()

    async def __call__(self) -> bytes:
        self.times += 1
        await self.may_end.wait()
        return self.answer


async def test_who_asked_first_may_leave() -> None:
    keys, work = Keys(), Work()
    first = asyncio.create_task(keys.once("a", b"", work))
    second = asyncio.create_task(keys.once("a", b"", work))
    await asyncio.sleep(0)
    first.cancel()
    work.may_end.set()
    assert await second == b"{}"
    assert (work.times, keys.replayed) == (1, 1)


async def test_all_who_wait_get_the_failure() -> None:
    async def fail() -> bytes:
        raise PushError("unavailable", "gone")

    keys = Keys()
    found = await asyncio.gather(
        *(keys.once("a", b"", fail) for _ in range(3)), return_exceptions=True
    )
    assert {str(each) for each in found} == {"('unavailable', 'gone')"}
    assert len(keys) == 0


async def test_a_key_lives_ten_minutes() -> None:
    now = 0.0
    keys, work = Keys(lambda: now), Work()
    work.may_end.set()
    await keys.once("a", b"1", work)
    now = 599.0
    await keys.once("a", b"1", work)
    await keys.once("b", b"1", work)
    assert work.times == 2
    now = 600.0
    await keys.once("a", b"2", work)
    assert (work.times, len(keys), keys.forgotten) == (3, 2, 0)


@pytest.mark.parametrize(("bound", "value"), [("MOST_KEYS", 3), ("MOST_BYTES", 6)])
async def test_keys_are_bounded(monkeypatch: pytest.MonkeyPatch, bound: str, value: int) -> None:
    monkeypatch.setattr(f"gateway.push.keys.{bound}", value)
    keys, work = Keys(), Work()
    waiting: list[Any] = [asyncio.create_task(keys.once("slow", b"", work))]
    quick = Work()
    quick.may_end.set()
    for number in range(5):
        await keys.once(number, b"", quick)
        await asyncio.sleep(0)
    assert len(keys) <= value
    assert keys.forgotten >= 2
    work.may_end.set()
    await asyncio.gather(*waiting)
    assert (await keys.once(4, b"", quick), quick.times) == (b"{}", 5)
    await keys.once(0, b"", quick)
    assert quick.times == 6
