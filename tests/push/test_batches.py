"""Several pushes in one request."""

from __future__ import annotations

from tests.push.conftest import Connect
from tests.push.pushed_gateway import Api

ANN = {"namespace": "/shop", "users": ["ann"]}


async def test_one_after_the_other_each_with_its_status(api: Api, connect: Connect) -> None:
    phone = await connect("ann")
    answer = await api.post(
        "batch",
        {
            "operations": [
                {"operation": "join", "target": ANN, "rooms": ["red"]},
                {
                    "operation": "emit",
                    "target": {"namespace": "shop", "rooms": ["red"]},
                    "event": "x",
                },
                {"operation": "emit", "target": {"namespace": "/", "all": True}, "event": "y"},
                {"operation": "fly"},
                {"target": ANN, "event": "z"},
                {"operation": "emit", "target": {"namespace": "/shop"}, "event": "z"},
                {"operation": "emit", "target": {"namespace": "/no", "all": True}, "event": "z"},
                {"operation": "disconnect", "target": ANN},
            ]
        },
        token="shop",
    )
    results = answer["results"]
    assert [(each["status"], each["body"].get("code")) for each in results] == [
        (200, None),
        (200, None),
        (403, "forbidden"),
        (422, "bad_request"),
        (422, "bad_request"),
        (422, "no_target"),
        (403, "forbidden"),
        (200, None),
    ]
    assert results[3]["body"]["detail"] == "operation is one of emit, call, join, leave, disconnect"
    assert results[1]["body"] == {"sockets": 1, "missing_members": []}
    assert await phone.next() == ("x", [])
    assert await phone.gone.wait()


async def test_bounds(api: Api) -> None:
    emit = {"operation": "emit", "target": ANN, "event": "x"}
    status, code, detail = await api.refused("batch", {"operations": [emit] * 101})
    assert (status, code) == (422, "bad_request")
    assert detail == "Expected `array` of length <= 100 - at `$.operations`"
    call = {"operation": "call", "target": ANN, "event": "x", "timeout": 40}
    results = (await api.post("batch", {"operations": [call, call]}))["results"]
    assert [each["status"] for each in results] == [200, 422]
    assert results[1]["body"]["detail"] == "the calls of a batch may take 60 s together"
