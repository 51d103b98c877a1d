"""What a client sends cannot make a check against a schema expensive."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gateway import Reject
from gateway.builtin._keywords import _canonical
from gateway.builtin._schema import COST, MAX_VALUES, ArgumentsSchema
from tests.builtin.conftest import Guarded, use

TREE = {
    "$defs": {
        "node": {
            "allOf": [{"items": {"$ref": "#/$defs/node"}}, {"items": {"$ref": "#/$defs/node"}}]
        }
    },
    "prefixItems": [{"$ref": "#/$defs/node"}],
}


def mistake(schema: object, *args: object, **options: int) -> str | None:
    try:
        ArgumentsSchema(schema, **options).check(list(args))  # type: ignore[arg-type]
    except Reject as reject:
        return f"{reject.code}: {reject.message}".removeprefix("bad_request: ")
    return None


def calls(schema: object, *args: object) -> int:
    """Count the calls that a check takes."""
    count = 0

    def called(frame: object, event: str, arg: object) -> None:
        nonlocal count
        count += event == "call"

    checked = ArgumentsSchema(schema, max_values=1_000_000)
    sys.setprofile(called)
    try:
        checked.check(list(args))  # type: ignore[arg-type]
    except Reject:
        pass
    finally:
        sys.setprofile(None)
    return count


async def test_more_values_than_the_bound_are_refused_unseen(
    guarded: Guarded, seen: dict[str, Any]
) -> None:
    events = {"set": [{"type": "array"}], "few": []}
    chain = [use("validate", {"events": events})]
    async with guarded(packet_middleware=chain, **seen) as gateway:
        client = await gateway.connect()
        assert await client.call("set", [0] * (MAX_VALUES - 1)) == ["set"]
        answer = await client.call("set", [0] * MAX_VALUES)
    message = f"args: more than {MAX_VALUES} values"
    assert answer == [{"error": {"code": "bad_request", "message": message}}]


async def test_the_bound_is_an_option(guarded: Guarded, seen: dict[str, Any]) -> None:
    chain = [use("validate", {"events": {"set": {}}, "max_values": 3})]
    async with guarded(packet_middleware=chain, **seen) as gateway:
        client = await gateway.connect()
        assert await client.call("set", [0], 1) == ["set"]
        answer = await client.call("set", {"a": [0]}, 1)
    message = "args: more than 3 values"
    assert answer == [{"error": {"code": "bad_request", "message": message}}]


@pytest.mark.parametrize(
    ("args", "count"),
    [
        ([], 0),
        ([1, "text", b"bytes", None], 4),
        ([[1, 2], [[]]], 5),
        ([{"a": {"b": [1]}}], 4),
    ],
)
def test_values_in_arrays_and_objects_count(args: list[object], count: int) -> None:
    assert mistake({}, *args, max_values=count) is None
    if count:
        assert mistake({}, *args, max_values=count - 1) == f"args: more than {count - 1} values"


@pytest.mark.parametrize("item", [{"a": 0}, [0], None, "a"])
def test_unique_items_are_found_without_comparing_pairs(item: object) -> None:
    schema = [{"uniqueItems": True}]
    few, many = ([{"n": n} if n else item for n in range(size)] for size in (200, 800))
    assert calls(schema, many) < 5 * calls(schema, few)


def test_numbers_with_one_hash_have_different_keys() -> None:
    alike = [n * (2**61 - 1) for n in range(1, 800)]
    assert {hash(n) for n in alike} == {0}
    assert len({hash(_canonical(n)) for n in alike}) == len(alike)


def test_a_branch_is_left_at_its_first_mistake() -> None:
    branches = [{"type": "array", "items": {"type": kind}} for kind in ("null", "boolean")]
    schema = [{"anyOf": branches}]
    assert calls(schema, [1] * 1000) == calls(schema, [1])


@pytest.mark.parametrize(
    ("costly", "cheap", "value", "message"),
    [
        ("uniqueItems", "maxItems", ["a", "a"], "args[0]: ['a', 'a'] is too long"),
        ("items", "maxItems", [1, 2], "args[0]: [1, 2] is too long"),
        ("pattern", "maxLength", "ab", "args[0]: 'ab' is too long"),
        ("additionalProperties", "maxProperties", {"a": 1, "b": 1}, None),
    ],
)
def test_bounds_are_checked_first_whatever_the_order(
    costly: str, cheap: str, value: object, message: str | None
) -> None:
    keywords = {
        "uniqueItems": True,
        "items": {"type": "string"},
        "pattern": "^c",
        "additionalProperties": {"type": "string"},
    }
    schema = {costly: keywords[costly], cheap: 1}
    message = message or f"args[0]: {value!r} has too many properties"
    assert mistake([schema], value) == message
    nested = {"prefixItems": [{"properties": {"maxItems": schema}}]}
    assert mistake(nested, {"maxItems": value}) == message.replace("args[0]", "args[0].maxItems")


def test_a_schema_that_refers_to_itself_twice_is_stopped() -> None:
    deep: Any = 1
    for _ in range(60):
        deep = [deep]
    assert mistake(TREE, deep) == "args: too much to check"
    assert mistake(TREE, [[1]]) is None


def test_a_long_text_is_matched_only_if_the_schema_bounds_it() -> None:
    text = "a" * 1001
    refusal = "longer than 1000 characters, the most for a 'pattern' without a 'maxLength'"
    assert mistake([{"pattern": "a"}], text) == f"args[0]: {refusal}"
    assert mistake([{"pattern": "a"}], text[1:]) is None
    assert mistake([{"pattern": "a", "maxLength": 2000}], text) is None
    refusal = "a key is longer than 1000 characters, the most for 'patternProperties'"
    keys = {"additionalProperties": False, "patternProperties": {"a": {}}}
    assert mistake([keys], {text: 1}) == f"args[0]: {refusal}"
    assert mistake([keys], {text[1:]: 1}) is None
    assert mistake([{"additionalProperties": {}}], {text: 1}) is None


def test_unevaluated_members_are_few() -> None:
    refusal = "args[0]: more than 1000 items, the most for 'unevaluatedItems'"
    items = {"items": True, "unevaluatedItems": False}
    assert mistake([items], [0] * 1001) == refusal
    assert mistake([items], [0] * 1000) is None
    refusal = "args[0]: more than 1000 properties, the most for 'unevaluatedProperties'"
    schema = {"additionalProperties": True, "unevaluatedProperties": False}
    assert mistake([schema], {str(n): 0 for n in range(1001)}) == refusal


@pytest.mark.parametrize("number", [float("inf"), 10**400])
def test_a_number_out_of_range_is_a_mistake_of_the_client(number: float) -> None:
    assert mistake([{"multipleOf": 0.1}], number) is not None
    assert mistake([{"multipleOf": 0.1}], 0.5) is None


def test_checks_are_counted() -> None:
    checks, refused, seconds = COST.checks, COST.refused, COST.seconds
    mistake([{"type": "string"}], "a")
    mistake([{"type": "string"}], 1)
    assert (COST.checks - checks, COST.refused - refused) == (2, 1)
    assert COST.seconds > seconds


# What jsonschema itself says is right.

SCALARS = st.one_of(
    *(st.none(), st.booleans(), st.sampled_from([0, 1, 2, -1, 1.0, 0.0, -0.0, 1.5, 2**53])),
    st.sampled_from(["", "a", "ab", "1", "true", b"a", b""]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=12,
)
KEYWORDS = [
    *("anyOf", "oneOf", "allOf", "prefixItems", "items", "not", "contains", "if", "then", "else"),
    *("additionalProperties", "properties", "unevaluatedItems", "unevaluatedProperties"),
]
BASIC = st.sampled_from(
    [
        *({"type": kind} for kind in ("string", "integer", "number", "array", "object", "null")),
        *(
            {"type": ["string", "array"]},
            {"const": 1},
            {"enum": ["a", 1, [1]]},
            {"multipleOf": 0.5},
        ),
        *({"uniqueItems": True}, {"pattern": "^a"}, {"maxLength": 1}, {"minimum": 1}, True, False),
        *({"required": ["a"]}, {"maxItems": 1}, {"patternProperties": {"[ab]": {"type": "null"}}}),
        {"$ref": "#/$defs/number"},
    ]
)


@st.composite
def schemas(draw: st.DrawFn, depth: int = 3) -> Any:
    if depth == 0 or draw(st.booleans()):
        return draw(BASIC)
    schema: dict[str, Any] = {}
    for key in draw(st.lists(st.sampled_from(KEYWORDS), max_size=3, unique=True)):
        inner = [draw(schemas(depth - 1)) for _ in range(draw(st.integers(1, 2)))]
        if key == "properties":
            schema[key] = dict(zip("ab", inner, strict=False))
        else:
            schema[key] = inner if key in ("anyOf", "oneOf", "allOf", "prefixItems") else inner[0]
    return schema


@dataclass(frozen=True)
class Binary:
    """Bytes as jsonschema should see them; it takes `b""` for an array that equals `[]`."""

    data: bytes


def oracle(value: Any) -> Any:
    match value:
        case bytes():
            return Binary(value)
        case list():
            return [oracle(each) for each in value]
        case dict():
            return {key: oracle(each) for key, each in value.items()}
    return value


@given(schemas(), VALUES)
def test_the_same_arguments_fit_as_with_jsonschema_alone(schema: Any, value: Any) -> None:
    whole = {"$defs": {"number": {"type": "number"}}, "prefixItems": [schema]}
    refused = not Draft202012Validator(whole).is_valid([oracle(value)])
    assert (mistake(whole, value) is not None) == refused


@given(st.lists(VALUES, max_size=4))
@example([[], b""])
def test_equal_items_are_those_that_json_schema_calls_equal(items: list[Any]) -> None:
    refused = not Draft202012Validator({"uniqueItems": True}).is_valid(oracle(items))
    assert (mistake([{"uniqueItems": True}], items) is not None) == refused
