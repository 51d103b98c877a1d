"""Pushes over HTTP, to real clients of a real daemon."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.push.conftest import Connect
from tests.push.pushed_gateway import Api


def to(namespace: str = "/shop", **target: Any) -> dict[str, Any]:
    return {"target": {"namespace": namespace, **target}}


async def test_an_event_reaches_rooms_users_and_sockets_once(api: Api, connect: Connect) -> None:
    ann, bob, eve = [await connect(each, "red") for each in ("ann", 7, "eve")]
    event = {"event": "paid", "args": [1, {"a": None}]}
    answer = await api.post("emit", {**to(users=["ann"]), **event})
    assert answer == {"sockets": 1, "missing_members": []}
    assert await ann.next() == ("paid", [1, {"a": None}])
    target = to(rooms=["red"], users=[7], sockets=[eve.id], **{"except": {"users": ["ann"]}})
    assert (await api.post("emit", {**target, "event": "two"}))["sockets"] == 2
    for phone in (bob, eve):
        assert await phone.next() == ("two", [])
    everyone = to("shop", all=True, **{"except": {"rooms": ["blue"], "sockets": [bob.id]}})
    assert (await api.post("emit", {**everyone, "event": "all"}))["sockets"] == 2
    for phone in (ann, eve):
        assert await phone.next() == ("all", [])
    nobody = await api.post("emit", {**to(users=["nobody"]), "event": "x", "volatile": True})
    assert nobody["sockets"] == 0
    assert bob.events.empty()


async def test_bytes_are_written_in_base64(api: Api, connect: Connect) -> None:
    phone = await connect("ann")
    phone.answers = b"\x01\x02"
    args = [{"$base64": "3q0="}, {"$$base64": 1}]
    body = {**to(users=["ann"]), "event": "file", "args": args}
    assert (await api.post("emit", body))["sockets"] == 1
    assert await phone.next() == ("file", [b"\xde\xad", {"$base64": 1}])
    answer = await api.post("call", body)
    assert answer["answers"] == [{"socket": phone.id, "args": [{"$base64": "AQI="}]}]


async def test_a_call_has_the_answers_and_who_gave_none(api: Api, connect: Connect) -> None:
    there, silent = await connect("ann"), await connect("ann")
    there.answers = ("yes", 1)
    silent._client.handlers["/shop"].clear()  # gives an ack of nothing
    answer = await api.post("call", {**to(users=["ann"]), "event": "there?", "timeout": 30})
    found = {each["socket"]: each["args"] for each in answer["answers"]}
    assert found == {there.id: ["yes", 1], silent.id: []}
    assert (answer["missing"], answer["missing_members"]) == ([], [])
    never = asyncio.Event()

    async def wait(*args: Any) -> None:
        await never.wait()

    silent._client.on("there?", wait, namespace="/shop")
    answer = await api.post("call", {**to(sockets=[silent.id]), "event": "there?", "timeout": 0.01})
    assert answer == {"answers": [], "missing": [{"socket": silent.id}], "missing_members": []}
    never.set()


async def test_sockets_join_leave_and_are_disconnected(api: Api, connect: Connect) -> None:
    ann, eve = await connect("ann"), await connect("eve")
    assert await api.post("join", {**to(users=["ann"]), "rooms": ["red", "blue"]}) == {"sockets": 1}
    assert (await api.post("emit", {**to(rooms=["red"]), "event": "joined"}))["sockets"] == 1
    assert await ann.next() == ("joined", [])
    assert await api.post("leave", {**to(all=True), "rooms": ["red"]}) == {"sockets": 2}
    assert (await api.post("emit", {**to(rooms=["red"]), "event": "left"}))["sockets"] == 0
    assert await api.post("disconnect", to(users=["ann"])) == {"sockets": 1}
    await asyncio.wait_for(ann.gone.wait(), 60)
    assert (await api.get("sockets?namespace=/shop"))["total"] == 1
    assert await api.post("disconnect", {**to(all=True), "close": True}) == {"sockets": 1}
    await asyncio.wait_for(eve.gone.wait(), 60)


NO_TARGET = "name rooms, users or sockets, or write all: true for the whole namespace"
BOTH = "all is for the whole namespace: leave out rooms, users and sockets, or all"


@pytest.mark.parametrize(
    ("operation", "body", "status", "code", "detail"),
    [
        ("emit", {**to(), "event": "x"}, 422, "no_target", f"{NO_TARGET} - at `$.target`"),
        ("emit", {**to(users=[]), "event": "x"}, 422, "no_target", f"{NO_TARGET} - at `$.target`"),
        (
            "disconnect",
            to(all=True, rooms=["a"]),
            422,
            "bad_request",
            f"{BOTH} - at `$.target`",
        ),
        ("emit", to(all=True), 422, "bad_request", "Object missing required field `event`"),
        (
            "emit",
            {**to(all=True, user="x"), "event": "x"},
            422,
            "bad_request",
            "Object contains unknown field `user` - at `$.target`",
        ),
        (
            "emit",
            {**to(users=[None]), "event": "x"},
            422,
            "bad_request",
            "Expected `int | str`, got `null` - at `$.target.users[0]`",
        ),
        (
            "call",
            {**to(all=True), "event": "x", "timeout": 61},
            422,
            "bad_request",
            "Expected `float` <= 60.0 - at `$.timeout`",
        ),
        (
            "emit",
            {**to("/none", all=True), "event": "x"},
            404,
            "unknown_namespace",
            "no namespace '/none'",
        ),
        (
            "emit",
            {**to(all=True), "event": "disconnect"},
            422,
            "bad_request",
            "event 'disconnect' is reserved: clients take it for Socket.IO's own",
        ),
        (
            "join",
            {**to(all=True), "rooms": ["\0user:ann"]},
            422,
            "forbidden_room",
            "the room belongs to a user",
        ),
        (
            "batch",
            {"operations": []},
            422,
            "bad_request",
            "Expected `array` of length >= 1 - at `$.operations`",
        ),
        ("nothing", {}, 404, "not_found", "there is no such path: see /openapi.json"),
        ("namespaces", {}, 405, "method_not_allowed", "POST is not for this path"),
    ],
)
async def test_what_is_refused(
    api: Api, operation: str, body: object, status: int, code: str, detail: str
) -> None:
    assert await api.refused(operation, body) == (status, code, detail)


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 400, "bad_json"),
        (b"{", 400, "bad_json"),
        (b'{"a": NaN}', 400, "bad_json"),
        (b'{"$base64": "!"}', 400, "bad_json"),
        (b"[" * 100_000, 400, "bad_json"),
        (b"[]", 422, "bad_request"),
        (b"7", 422, "bad_request"),
        (b'{"x": ' + b"[" * 900 + b"]" * 900 + b"}", 422, "bad_request"),
        (b" " * 1_000_001, 413, "too_large"),
    ],
)
async def test_bodies_that_are_refused(api: Api, data: bytes, status: int, code: str) -> None:
    found, answer = await api.ask("POST", "/v1/emit", data=data)
    assert (found, answer["code"]) == (status, code)


async def test_arguments_that_no_client_can_read(api: Api) -> None:
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]
    status, code, _ = await api.refused("emit", {**to(all=True), "event": "x", "args": deep})
    assert (status, code) == (422, "bad_request")
