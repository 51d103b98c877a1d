from __future__ import annotations

from typing import Any

import pytest

from tests.builtin.conftest import Guarded, use

TEXT = {"type": "string", "maxLength": 5}
POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "tags": {"type": "array", "items": TEXT}},
    "required": ["x"],
    "additionalProperties": False,
}
EVENTS = {
    "say": [TEXT],
    "draw": [{"$ref": "#/prefixItems/1"}, POINT],
    "any": {"minItems": 1, "items": {"$ref": "#/$defs/text"}, "$defs": {"text": TEXT}},
    "old": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "items": [{"type": "integer"}],
        "additionalItems": False,
    },
    "nothing": [],
}


@pytest.mark.parametrize(
    ("event", "args"),
    [
        ("say", ["hello"]),
        ("draw", [{"x": 1}, {"x": 2, "tags": ["a", "b"]}]),
        ("any", ["a", "b", "c"]),
        ("old", [1]),
        ("nothing", []),
        ("unchecked", [1, "longer than five", b"bytes"]),
    ],
)
async def test_what_fits_passes(
    guarded: Guarded, seen: dict[str, Any], event: str, args: list[Any]
) -> None:
    chain = [use("validate", {"events": EVENTS})]
    async with guarded(packet_middleware=chain, **seen) as gateway:
        assert await (await gateway.connect()).call(event, *args) == [event]


@pytest.mark.parametrize(
    ("event", "args", "message"),
    [
        ("say", [], "args: [] should be non-empty"),
        ("say", ["a", "b"], "args: ['a', 'b'] is too long"),
        ("say", [1], "args[0]: 1 is not of type 'string'"),
        ("say", [b"a"], "args[0]: b'a' is not of type 'string'"),
        ("say", ["a" * 100_000], "args[0]: does not fit maxLength 5"),
        ("draw", [{"x": 1}, {"x": "1"}], "args[1].x: '1' is not of type 'integer'"),
        ("draw", [{"x": 1}, {}], "args[1]: 'x' is a required property"),
        ("draw", [{"x": 1, "tags": [2]}, {"x": 1}], "args[0].tags[0]: 2 is not of type 'string'"),
        ("any", ["a", None], "args[1]: None is not of type 'string'"),
        ("old", ["a"], "args[0]: 'a' is not of type 'integer'"),
        ("nothing", [1], "args: [1] is expected to be empty"),
    ],
)
async def test_of_what_does_not_fit_the_first_problem_is_told(
    guarded: Guarded, seen: dict[str, Any], event: str, args: list[Any], message: str
) -> None:
    chain = [use("validate", {"events": EVENTS})]
    async with guarded(packet_middleware=chain, **seen) as gateway:
        answer = await (await gateway.connect()).call(event, *args)
    assert answer == [{"error": {"code": "bad_request", "message": message}}]


async def test_what_nests_too_deeply_for_a_schema_is_no_fault_of_the_gateway(
    guarded: Guarded, seen: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    deep: list[Any] = []
    for _ in range(190):
        deep = [deep]
    tree = {"$defs": {"tree": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/tree"}]}}}}
    events = {"set": {**tree, "$ref": "#/$defs/tree"}}
    async with guarded(packet_middleware=[use("validate", {"events": events})], **seen) as gateway:
        answer = await (await gateway.connect()).call("set", deep)
    error = {"code": "bad_request", "message": "args: nested too deeply"}
    assert answer == [{"error": error}]
    assert caplog.records == []


async def test_a_long_path_is_cut(guarded: Guarded, seen: dict[str, Any]) -> None:
    events = {"set": [{"additionalProperties": {"type": "integer"}}]}
    async with guarded(packet_middleware=[use("validate", {"events": events})], **seen) as gateway:
        [answer] = await (await gateway.connect()).call("set", {"k" * 10_000: "v"})
    assert isinstance(answer, dict)
    assert len(str(answer)) < 300
