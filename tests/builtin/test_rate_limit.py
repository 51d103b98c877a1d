from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import ConfigError
from gateway.builtin.rate_limit import Buckets
from gateway.testing import Refused, TestGateway
from tests.builtin.conftest import Clock, Guarded, use


@pytest.fixture(autouse=True)
def _time(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["gateway.builtin.rate_limit"]
    monkeypatch.setattr(module, "monotonic_ns", clock.nanoseconds)


def limited(retry_after: float) -> list[object]:
    data = {"retry_after": retry_after}
    error = {"code": "rate_limited", "message": "too many, try again later", "data": data}
    return [{"error": error}]


async def test_a_burst_passes_then_one_by_one_as_tokens_flow_in(
    guarded: Guarded, seen: dict[str, Any], clock: Clock
) -> None:
    chain = [use("rate_limit", {"rate": 2, "per": 4, "burst": 3})]
    async with guarded(packet_middleware=chain, **seen) as gateway:
        client = await gateway.connect()
        for _ in range(3):
            assert await client.call("go") == ["go"]
        assert await client.call("go") == limited(2.0)
        clock.now += 1.9995
        assert await client.call("go") == limited(0.001)
        clock.now += 0.0005
        assert await client.call("go") == ["go"]
        assert await client.call("go") == limited(2.0)
        clock.now += 3600
        for _ in range(3):
            assert await client.call("go") == ["go"]
        assert await client.call("go") == limited(2.0)


async def test_by_default_a_burst_is_as_large_as_the_rate(
    guarded: Guarded, seen: dict[str, Any]
) -> None:
    async with guarded(packet_middleware=[use("rate_limit", {"rate": 5})], **seen) as gateway:
        client = await gateway.connect()
        assert [await client.call("go") for _ in range(6)] == [["go"]] * 5 + [limited(0.2)]


async def test_without_an_ack_the_client_hears_of_it_by_an_error_event(
    guarded: Guarded, seen: dict[str, Any]
) -> None:
    async with guarded(packet_middleware=[use("rate_limit", {"rate": 1})], **seen) as gateway:
        client = await gateway.connect()
        await client.emit("go")
        await client.emit("again")
        assert (await client.receive("error")).args == [{**limited(1.0)[0], "event": "again"}]


USER = """
    async def user(ctx, next):
        if "user" in ctx.socket.handshake.auth:
            ctx.socket.data["user"] = ctx.socket.handshake.auth["user"]
        await next()
"""


async def pair_of(
    gateway: TestGateway, first: dict[str, Any], second: dict[str, Any]
) -> list[bool]:
    """Which of two calls are answered, each of a client of its own, when one in all is allowed."""
    clients = [await gateway.connect(**shown) for shown in (first, second)]
    return [await client.call("go") == ["go"] for client in clients]


@pytest.mark.parametrize(
    ("by", "first", "second", "passes"),
    [
        ("socket", {}, {}, True),
        ("address", {}, {}, False),
        ("event", {}, {}, False),
        ("user", {"auth": {"user": "ada"}}, {"auth": {"user": "ada"}}, False),
        ("user", {"auth": {"user": "ada"}}, {"auth": {"user": "eve"}}, True),
        ("user", {}, {"auth": {"user": "ada"}}, True),
        ("user", {}, {}, False),
    ],
)
async def test_what_has_a_bucket_of_its_own(
    guarded: Guarded,
    seen: dict[str, Any],
    by: str,
    first: dict[str, Any],
    second: dict[str, Any],
    passes: bool,
) -> None:
    seen["plugins"]["user"] = USER
    chain = [use("rate_limit", {"rate": 1, "by": by})]
    async with guarded(connection_middleware=["user"], packet_middleware=chain, **seen) as gateway:
        assert await pair_of(gateway, first, second) == [True, passes]


async def test_a_user_is_whom_the_namespace_says(guarded: Guarded, seen: dict[str, Any]) -> None:
    seen["plugins"]["user"] = USER.replace('data["user"]', 'data["name"]')
    chain = [use("rate_limit", {"rate": 1, "by": "user"})]
    chains = {"connection_middleware": ["user"], "packet_middleware": chain}
    async with guarded(user="data.name", **chains, **seen) as gateway:
        ada, eve = {"auth": {"user": "ada"}}, {"auth": {"user": "eve"}}
        assert await pair_of(gateway, ada, eve) == [True, True]
        assert await pair_of(gateway, ada, eve) == [False, False]


@pytest.mark.parametrize(
    ("first", "second", "passes"),
    [
        ("192.0.2.1", "192.0.2.2", True),
        ("192.0.2.1", "192.0.2.1", False),
        ("2001:db8::1", "2001:db8::ffff:0:1", False),
        ("2001:db8::1", "2001:db8:0:1::1", True),
    ],
)
async def test_an_address_behind_a_proxy_and_an_ipv6_network_have_one_bucket(
    guarded: Guarded, seen: dict[str, Any], first: str, second: str, passes: bool
) -> None:
    options = {"rate": 1, "by": "address", "trusted_proxies": ["127.0.0.1"]}
    async with guarded(packet_middleware=[use("rate_limit", options)], **seen) as gateway:
        shown = [{"headers": {"X-Forwarded-For": address}} for address in (first, second)]
        assert await pair_of(gateway, *shown) == [True, passes]


async def test_events_have_buckets_of_their_own_and_only_those_named_count(
    guarded: Guarded, seen: dict[str, Any]
) -> None:
    chain = [use("rate_limit", {"rate": 1, "by": "event", "events": ["a", "b"]})]
    async with guarded(packet_middleware=chain, **seen) as gateway:
        client = await gateway.connect()
        answers = [await client.call(event) for event in ("a", "b", "c", "c", "b")]
    assert answers == [["a"], ["b"], ["c"], ["c"], limited(1.0)]


async def test_a_long_name_has_a_bucket_as_well(guarded: Guarded, seen: dict[str, Any]) -> None:
    async with guarded(
        packet_middleware=[use("rate_limit", {"rate": 1, "by": "event"})], **seen
    ) as gateway:
        client = await gateway.connect()
        name = "long" * 10_000
        assert await client.call(name) == [name]
        assert await client.call(name) == limited(1.0)


async def test_connections_of_an_address_are_limited(guarded: Guarded, clock: Clock) -> None:
    options = {"rate": 1, "per": 10, "by": "address"}
    async with guarded(connection_middleware=[use("rate_limit", options)]) as gateway:
        await gateway.connect()
        with pytest.raises(Refused) as refused:
            await gateway.connect()
        clock.now += 10
        await gateway.connect()
    assert (refused.value.message, refused.value.data) == (
        "too many, try again later",
        {"code": "rate_limited", "data": {"retry_after": 10.0}},
    )


async def test_buckets_survive_a_reload(guarded: Guarded, seen: dict[str, Any]) -> None:
    chain = [use("rate_limit", {"rate": 1})]
    async with guarded(packet_middleware=chain, **seen) as gateway:
        client = await gateway.connect()
        assert await client.call("go") == ["go"]
        guarded(packet_middleware=[*chain, use("log", {})], **seen)  # writes the file anew
        await gateway.reload()
        assert await client.call("go") == limited(1.0)


def test_a_bucket_that_is_full_again_is_forgotten() -> None:
    buckets = Buckets(each=10, burst=3)
    for now in range(10_000):
        buckets.take(now, now)
    assert len(buckets) <= 2 * 30


@given(
    each=st.integers(1, 50),
    burst=st.integers(1, 5),
    steps=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60)), max_size=60),
)
def test_it_is_a_token_bucket(each: int, burst: int, steps: list[tuple[int, int]]) -> None:
    """As one that never forgets, and counts tokens in `each`ths."""
    buckets = Buckets(each, burst)
    tokens: dict[int, tuple[int, int]] = {}
    now = 1
    for key, later in steps:
        now += later
        left, then = tokens.get(key, (burst * each, now))
        left = min(left + now - then, burst * each)
        wait = max(each - left, 0)
        assert buckets.take(key, now) == wait
        tokens[key] = (left if wait else left - each, now)


def test_whoever_waits_as_told_is_let_through() -> None:
    buckets = Buckets(each=7, burst=2)
    now = 1
    for _ in range(100):
        wait = buckets.take("key", now)
        if wait:
            assert buckets.take("key", now + wait - 1) == 1
            now += wait
            assert buckets.take("key", now) == 0
    assert now == 1 + 7 * 98


async def test_made_up_events_share_a_bucket_after_the_first_thousand(
    guarded: Guarded, seen: dict[str, Any]
) -> None:
    chain = [use("rate_limit", {"rate": 1, "per": 3600, "by": "event"})]
    async with guarded(packet_middleware=chain, **seen) as gateway:
        client = await gateway.connect()
        assert await client.call("known") == ["known"]
        for number in range(999):
            assert await client.call(f"made up {number}") == [f"made up {number}"]
        assert await client.call("one more") == ["one more"]
        assert await client.call("and one more") == limited(3600.0)
        assert await client.call("known") == limited(3600.0)


@given(st.integers(2, 20), st.lists(st.integers(0, 30)), st.booleans())
def test_there_are_never_more_buckets_than_the_bound(
    most: int, keys: list[int], shared: bool
) -> None:
    buckets = Buckets(3600, 1, most, shared=shared)
    for key in keys:
        buckets.take(key, 1)
        assert len(buckets) <= most + shared


def test_the_bucket_that_was_not_used_for_longest_is_forgotten_first() -> None:
    buckets = Buckets(3600, 1, 4)
    assert [buckets.take(key, 1) > 0 for key in "abc"] == [False] * 3
    assert buckets.take("b", 1) > 0
    assert [buckets.take(key, 1) > 0 for key in "de"] == [False] * 2
    assert buckets.take("a", 1) == 0


def test_tokens_that_two_workers_took_at_once_are_paid_back() -> None:
    one, other = Buckets(each=10, burst=3), Buckets(each=10, burst=3)
    assert [each.take("key", 1) for each in (one, other) for _ in range(3)] == [0] * 6
    one.take_elsewhere("key", 3, 1)
    other.take_elsewhere("key", 3, 1)
    for each in (one, other):
        assert each.take("key", 1) == 40
        assert each.take("other", 35) == 0  # when a bucket without debts would be full
        assert each.take("key", 40) == 1
        assert each.take("key", 41) == 0


@given(
    st.integers(1, 20),
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 3)), max_size=60),
)
def test_no_debt_is_forgotten(each: int, burst: int, steps: list[tuple[int, int, int]]) -> None:
    """As with buckets that never forget; a count of 0 takes a token here."""
    buckets = Buckets(each, burst)
    full: dict[int, int] = {}
    now = 1
    for key, later, count in steps:
        now += later
        after = max(full.get(key, 0), now) + each * (count or 1)
        if count:
            buckets.take_elsewhere(key, count, now)
            full[key] = after
        else:
            wait = max(0, after - each * burst - now)
            assert buckets.take(key, now) == wait
            full[key] = full.get(key, 0) if wait else after


@given(st.integers(2, 20), st.lists(st.integers(0, 30)), st.booleans())
def test_what_others_took_is_bounded_as_well(most: int, keys: list[int], shared: bool) -> None:
    buckets = Buckets(3600, 1, most, shared=shared)
    for key in keys:
        buckets.take_elsewhere(key, 5, 1)
        assert len(buckets) <= most + shared


@pytest.mark.parametrize("scope", ["member", "node"])
@pytest.mark.parametrize("by", ["socket", "user", "address", "event"])
async def test_with_one_process_the_scope_changes_nothing(
    guarded: Guarded, seen: dict[str, Any], by: str, scope: str
) -> None:
    chain = [use("rate_limit", {"rate": 2, "by": by, "scope": scope})]
    async with guarded(packet_middleware=chain, **seen) as gateway:
        client = await gateway.connect()
        answers = [await client.call("go") for _ in range(3)]
        assert answers == [["go"], ["go"], limited(0.5)]


async def test_a_scope_that_there_is_not(guarded: Guarded) -> None:
    chain = [use("rate_limit", {"rate": 2, "scope": "cluster"})]
    with pytest.raises(ConfigError) as refused:
        async with guarded(packet_middleware=chain):
            pass
    (problem,) = refused.value.problems
    assert problem.message == (
        "'builtin.rate_limit': option 'scope' must be one of 'member', 'node', got 'cluster'"
    )


async def test_a_handler_behind_it_fails_with_a_traceback_of_its_own_lines(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    own = "async def go(ctx):\n    raise LookupError('gone')\n"
    chain = [use("rate_limit", {"rate": 2})]
    async with guarded(
        packet_middleware=chain, routes={"go": "own.go"}, plugins={"own": own}
    ) as gateway:
        await (await gateway.connect()).call("go")
    (record,) = [each for each in caplog.records if each.levelname == "ERROR"]
    assert record.exc_info
    frames = traceback.extract_tb(record.exc_info[2])
    assert [(Path(each.filename).name, each.lineno) for each in frames] == [("own.py", 2)]


async def test_its_own_fault_has_its_lines(
    guarded: Guarded,
    seen: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(self: Buckets, key: object, now: int) -> int:
        raise LookupError(key)

    monkeypatch.setattr(Buckets, "take", fail)
    chain = [use("rate_limit", {"rate": 2})]
    async with guarded(packet_middleware=chain, **seen) as gateway:
        await (await gateway.connect()).call("go")
    (record,) = [each for each in caplog.records if each.levelname == "ERROR"]
    assert record.exc_info
    frames = traceback.extract_tb(record.exc_info[2])
    assert [each.name for each in frames] == ["limit", "fail"]
