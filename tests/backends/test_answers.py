"""What a backend may answer, and what the client gets then."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web

from gateway.testing import Refused
from tests.backends.conftest import Asking, Site, envelope, use


def error(code: str, message: str, data: Any = None) -> list[Any]:
    told = {"code": code, "message": message, **({} if data is None else {"data": data})}
    return [{"error": told}]


@pytest.mark.parametrize("value", [None, 0, "text", [1, 2], {"a": {"b": None}}])
async def test_json_is_the_one_argument_of_the_ack(
    asking: Asking, site: Site, value: object
) -> None:
    site.answer = lambda seen: web.json_response(value)
    async with asking(site.url) as gateway:
        assert await (await gateway.connect()).call("buy") == [value]


async def test_no_content_is_an_empty_ack(asking: Asking, site: Site) -> None:
    async with asking(site.url) as gateway:
        assert await (await gateway.connect()).call("buy") == []


async def test_an_envelope_acks_with_several_arguments(asking: Asking, site: Site) -> None:
    site.answer = lambda seen: envelope(ack=[1, {"$base64": "AP8="}])
    async with asking(site.url) as gateway:
        assert await (await gateway.connect()).call("buy") == [1, b"\x00\xff"]


async def test_an_envelope_may_refuse_and_act_all_the_same(asking: Asking, site: Site) -> None:
    site.answer = lambda seen: envelope(
        error={"code": "sold_out", "message": "none left", "data": 3},
        emit=[{"event": "news", "args": [1]}],
    )
    async with asking(site.url) as gateway:
        client = await gateway.connect()
        assert await client.call("buy") == error("sold_out", "none left", 3)
        assert (await client.receive("news")).args == [1]


async def test_data_is_merged(asking: Asking, site: Site) -> None:
    answers = [{"a": 1, "deep": {"x": 1, "y": 2}}, {"a": None, "deep": {"y": None, "z": [3]}}]
    site.answer = lambda seen: envelope(data=answers[len(site.seen) - 1])
    async with asking(site.url) as gateway:
        client = await gateway.connect()
        await client.call("buy")
        await client.call("buy")
        [socket] = await gateway.gateway.of("/").sockets()
        assert socket.data == {"deep": {"x": 1, "z": [3]}}


async def test_rooms_are_joined_and_left(asking: Asking, site: Site) -> None:
    answers = [{"join": ["a", "b"]}, {"leave": "a"}]
    site.answer = lambda seen: envelope(**answers[len(site.seen) - 1])
    async with asking(site.url) as gateway:
        client = await gateway.connect()
        await client.call("buy")
        [socket] = await gateway.gateway.of("/").sockets()
        assert socket.rooms == {"a", "b", client.id}
        await client.call("buy")
        assert socket.rooms == {"b", client.id}


async def test_events_go_to_the_socket_to_rooms_or_to_all(asking: Asking, site: Site) -> None:
    async with asking(site.url) as gateway:
        one, other = await gateway.connect(), await gateway.connect()
        site.answer = lambda seen: envelope(
            emit=[
                {"event": "own"},
                {"event": "nobody", "to": []},
                {"event": "other", "to": other.id, "args": [1, {"$base64": "eA=="}]},
                {"event": "others", "all": True, "except": [one.id]},
                {"event": "end", "all": True},
            ]
        )
        await one.call("buy")
        assert [(await one.receive()).name for _ in range(2)] == ["own", "end"]
        received = [await other.receive() for _ in range(3)]
    assert [each.name for each in received] == ["other", "others", "end"]
    assert received[0].args == [1, b"x"]


async def test_the_ack_comes_before_the_disconnect(asking: Asking, site: Site) -> None:
    site.answer = lambda seen: envelope(ack=["bye"], disconnect=True)
    async with asking(site.url) as gateway:
        client = await gateway.connect()
        assert await client.call("buy") == ["bye"]
        await client.wait_disconnected()


STATUSES = [
    (400, "bad_request", "the request is not valid"),
    (401, "unauthorized", "log in first"),
    (403, "forbidden", "this is not allowed"),
    (404, "not_found", "there is no such thing"),
    (409, "conflict", "it has changed meanwhile"),
    (413, "too_large", "this is too large"),
    (418, "refused", "the request was refused"),
    (422, "bad_request", "the request is not valid"),
    (429, "busy", "too many requests, try again later"),
    (500, "unavailable", "not available now, try again later"),
    (502, "unavailable", "not available now, try again later"),
    (503, "unavailable", "not available now, try again later"),
]


@pytest.mark.parametrize(("status", "code", "message"), STATUSES)
async def test_a_status_is_a_code(
    asking: Asking, site: Site, status: int, code: str, message: str
) -> None:
    site.answer = lambda seen: web.Response(status=status, text="<h1>secret detail</h1>")
    async with asking(site.url) as gateway:
        assert await (await gateway.connect()).call("buy") == error(code, message)


async def test_a_problem_has_its_own_words(asking: Asking, site: Site) -> None:
    problem = {"title": "Sold out", "detail": "none left", "code": "sold_out", "data": {"n": 0}}
    site.answer = lambda seen: web.json_response(
        problem, status=409, content_type="application/problem+json"
    )
    async with asking(site.url) as gateway:
        client = await gateway.connect()
        assert await client.call("buy") == error("sold_out", "none left", {"n": 0})
        del problem["code"], problem["detail"], problem["data"]
        assert await client.call("buy") == error("conflict", "Sold out")


async def test_of_a_failure_the_client_is_told_nothing_more(asking: Asking, site: Site) -> None:
    problem = {"code": "db", "detail": "password of db is x"}
    site.answer = lambda seen: web.json_response(
        problem, status=500, content_type="application/problem+json"
    )
    async with asking(site.url) as gateway:
        ack = await (await gateway.connect()).call("buy")
    assert ack == error("unavailable", "not available now, try again later")


async def test_too_many_requests_say_when_to_try_again(asking: Asking, site: Site) -> None:
    site.answer = lambda seen: web.Response(status=429, headers={"Retry-After": "7"})
    async with asking(site.url) as gateway:
        client = await gateway.connect()
        told = error("busy", "too many requests, try again later", {"retry_after": 7})
        assert await client.call("buy") == told
        assert await client.call("buy") == told  # others are not held up
    assert len(site.seen) == 2


BAD = [
    lambda: {"ack": 1},
    lambda: {"data": []},
    lambda: {"disconnect": 1},
    lambda: {"emit": {}},
    lambda: {"emit": [{"args": []}]},
    lambda: {"emit": [{"event": "a", "args": 1}]},
    lambda: {"emit": [{"event": "a", "to": "x", "all": True}]},
    lambda: {"emit": [{"event": "a", "to": [1]}]},
    lambda: {"join": 1},
    lambda: {"error": "no"},
    lambda: {"error": {"code": ""}},
    lambda: {"error": {"code": "x", "message": 1}},
    lambda: {"unknown": 1},
    list,
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: json.dumps(bad()))
async def test_an_envelope_that_is_none_does_nothing(asking: Asking, site: Site, bad: Any) -> None:
    site.answer = lambda seen: web.Response(
        text=json.dumps(bad()), content_type="application/vnd.sockgw+json"
    )
    async with asking(site.url) as gateway:
        ack = await (await gateway.connect()).call("buy")
    assert ack == error("bad_answer", "the answer cannot be used")


# Connections

ENTER = {"connection_middleware": [use("/connect")], "routes": {"buy": use("/buy")}}


async def test_a_connection_is_accepted_and_gets_data(asking: Asking, site: Site) -> None:
    site.answer = lambda seen: envelope(
        data={"user": "ann"}, join=["vip"], emit=[{"event": "hello"}]
    )
    async with asking(site.url, ENTER, auth=["token"]) as gateway:
        client = await gateway.connect(auth={"token": "t"})
        assert (await client.receive()).name == "hello"
        [socket] = await gateway.gateway.of("/").sockets()
        assert socket.data == {"user": "ann"}
        assert socket.rooms == {"vip", client.id}
        await client.call("buy")
    connect, event = (each.json for each in site.seen)
    assert (connect["type"], connect["event"], connect["args"]) == ("connect", "connect", [])
    assert connect["auth"] == {"token": "t"}
    assert connect["socket"]["id"] == client.id
    assert (event["socket"]["data"], event["sequence"]) == ({"user": "ann"}, 2)


async def test_a_plain_answer_accepts(asking: Asking, site: Site) -> None:
    site.answer = lambda seen: web.json_response({"ignored": True})
    async with asking(site.url, ENTER) as gateway:
        assert (await gateway.connect()).connected


async def test_a_connection_is_refused_as_by_any_middleware(asking: Asking, site: Site) -> None:
    problem = {"code": "expired", "detail": "log in again", "data": {"at": 1}}
    site.answer = lambda seen: web.json_response(
        problem, status=401, content_type="application/problem+json"
    )
    async with asking(site.url, ENTER) as gateway:
        with pytest.raises(Refused) as caught:
            await gateway.connect()
    assert (caught.value.message, caught.value.data) == (
        "log in again",
        {"code": "expired", "data": {"at": 1}},
    )


async def test_an_envelope_refuses_a_connection(asking: Asking, site: Site) -> None:
    site.answer = lambda seen: envelope(error={"code": "banned", "message": "go away"})
    async with asking(site.url, ENTER) as gateway:
        with pytest.raises(Refused, match="go away"):
            await gateway.connect()


async def test_a_backend_that_fails_lets_nobody_in(asking: Asking, site: Site) -> None:
    site.answer = lambda seen: web.Response(status=500)
    async with asking(site.url, ENTER) as gateway:
        with pytest.raises(Refused) as caught:
            await gateway.connect()
    assert caught.value.data == {"code": "unavailable"}
