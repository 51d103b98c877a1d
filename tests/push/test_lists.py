"""Lists of namespaces, rooms and sockets."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.push.conftest import Connect
from tests.push.pushed_gateway import Api


async def test_namespaces_and_their_sockets(api: Api, connect: Connect) -> None:
    await connect("ann")
    assert await api.get("namespaces") == {
        "namespaces": [{"namespace": "/", "sockets": 0}, {"namespace": "/shop", "sockets": 1}]
    }


@pytest.mark.parametrize("name", ["%2Fshop", "shop", "%2fshop"])
async def test_rooms(api: Api, connect: Connect, name: str) -> None:
    await connect("ann", "red", "blue")
    await connect("eve", "red", "ümläut/ room")
    path = f"namespaces/{name}/rooms"
    rooms = [
        {"room": "blue", "sockets": 1},
        {"room": "red", "sockets": 2},
        {"room": "ümläut/ room", "sockets": 1},
    ]
    assert await api.get(path) == {"rooms": rooms, "next": None, "missing_members": []}
    found, after = [], ""
    for _ in range(3):
        answer = await api.get(f"{path}?limit=1{after}")
        found += answer["rooms"]
        after = f"&after={answer['next']}"
    assert found == rooms
    assert (await api.get(f"{path}?limit=1{after}"))["rooms"] == []


async def test_sockets_by_page(api: Api, connect: Connect) -> None:
    phones = [await connect(f"user-{number}", "red") for number in range(5)]
    ids = sorted(phone.id for phone in phones)
    found, after = [], ""
    while True:
        answer = await api.get(f"sockets?namespace=shop&limit=2{after}")
        assert answer["total"] == 5
        found += [each["id"] for each in answer["sockets"]]
        if answer["next"] is None:
            break
        assert answer["next"] not in ids
        after = f"&after={answer['next']}"
    assert found == ids


async def test_what_is_told_of_a_socket(api: Api, connect: Connect) -> None:
    phone = await connect("ann", "red")
    await connect("eve")
    [socket] = (await api.get("sockets?namespace=/shop&user=ann"))["sockets"]
    assert socket.pop("connected") > 1_700_000_000
    assert sorted(socket.pop("rooms")) == sorted(["red", phone.id])
    assert socket == {
        "id": phone.id,
        "namespace": "/shop",
        "user": "ann",
        "room_count": 2,
        "address": "127.0.0.1",
    }
    one = await api.get(f"sockets/{phone.id}")
    assert (one["id"], one["user"]) == (phone.id, "ann")
    assert (await api.get("sockets?namespace=/shop&room=red"))["total"] == 1
    assert (await api.get("sockets?namespace=/shop&room=red&user=eve"))["total"] == 2
    assert (await api.get("sockets?namespace=/shop&user=nobody"))["sockets"] == []


async def test_many_rooms_of_a_socket_are_not_all_told(api: Api, connect: Connect) -> None:
    await connect("ann", *(f"room-{number}" for number in range(150)))
    [socket] = (await api.get("sockets?namespace=/shop"))["sockets"]
    assert (len(socket["rooms"]), socket["room_count"]) == (100, 151)


@pytest.mark.parametrize(
    ("path", "status", "code", "detail"),
    [
        ("sockets", 422, "bad_request", "Object missing required field `namespace`"),
        ("sockets?namespace=/none", 404, "unknown_namespace", "no namespace '/none'"),
        ("namespaces/none/rooms", 404, "unknown_namespace", "no namespace '/none'"),
        ("sockets/none", 404, "not_found", "no socket 'none'"),
        (
            "sockets?namespace=/&limit=501",
            422,
            "bad_request",
            "Expected `int` <= 500 - at `$.limit`",
        ),
        (
            "sockets?namespace=/&limit=x",
            422,
            "bad_request",
            "Expected `int`, got `str` - at `$.limit`",
        ),
        (
            "sockets?namespace=/&after=!",
            422,
            "bad_request",
            "after is not the `next` of an answer",
        ),
        (
            "sockets?namespace=/&page=2",
            422,
            "bad_request",
            "Object contains unknown field `page`",
        ),
        (
            "sockets?namespace=/&namespace=/shop",
            422,
            "bad_request",
            "each key of the query stands there once",
        ),
    ],
)
async def test_what_is_refused(api: Api, path: str, status: int, code: str, detail: str) -> None:
    found, answer = await api.ask("GET", f"/v1/{path}")
    assert (found, answer["code"], answer["detail"]) == (status, code, detail)


async def test_a_user_whose_name_is_digits(api: Api, connect: Connect) -> None:
    await connect("007")
    assert (await api.get("sockets?namespace=/shop&user=007"))["total"] == 1
    assert (await api.get("sockets?namespace=/shop&user=7"))["total"] == 0


async def test_odd_names_in_paths(api: Api) -> None:
    for name in ("..", "%2e%2e", quote("a/b?c#d", safe=""), "%00", "%ff"):
        status, _ = await api.ask("GET", f"/v1/sockets/{name}")
        assert status in (404, 422)
