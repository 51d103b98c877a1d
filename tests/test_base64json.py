"""JSON with bytes: what is written is read again, whatever it looks like."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.base64json import DEEPEST, dumps, loads

KEYS = st.text(max_size=5) | st.sampled_from(["$base64", "$$base64", "$$$base64", "base64"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(['"$base64":', "$base64"])
    | st.binary(max_size=9),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(KEYS, each, max_size=2),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_written_is_read_again(value: object) -> None:
    text = dumps(value)
    json.loads(text)
    assert loads(text) == value
    assert loads(text.decode()) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": b"\xde\xad"}, b'{"a":{"$base64":"3q0="}}'),
        ([bytearray(b"\xde\xad"), memoryview(b"")], b'[{"$base64":"3q0="},{"$base64":""}]'),
        ({"$base64": "3q0="}, b'{"$$base64":"3q0="}'),
        ({"$$base64": 1}, b'{"$$$base64":1}'),
        ({"$base64": b"\xde\xad"}, b'{"$$base64":{"$base64":"3q0="}}'),
        ({"$base64": 1, "more": 2}, b'{"$base64":1,"more":2}'),
        (("tuple", 1), b'["tuple",1]'),
        ('"$base64":', b'"\\"$base64\\":"'),
    ],
)
def test_written(value: object, text: bytes) -> None:
    assert dumps(value) == text


def test_a_key_may_be_written_with_escapes() -> None:
    assert loads(b'{"\\u0024b\\u0061se64": "3q0="}') == b"\xde\xad"


@pytest.mark.parametrize("value", [1, None, "3q0", "=", "3q0=\\n", {"$base64": ""}])
def test_what_is_no_base64(value: object) -> None:
    with pytest.raises(ValueError, match=r"^the value of \$base64 is not text in Base64$"):
        loads(json.dumps([{"$base64": value}]))


def test_what_cannot_be_sent() -> None:
    with pytest.raises(TypeError, match=r"^a value of type set cannot be sent$"):
        dumps({"a": {1}})


def test_deep_data_is_refused_and_no_recursion_error() -> None:
    deep = "[" * (DEEPEST + 1) + '"$base64"' + "]" * (DEEPEST + 1)
    with pytest.raises(ValueError, match=r"^nested too deep$"):
        loads(deep)
    nested: object = {"$base64": 1}
    for _ in range(DEEPEST):
        nested = [nested]
    with pytest.raises(ValueError, match=r"^nested too deep$"):
        dumps(nested)
