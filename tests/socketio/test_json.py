"""Strict JSON."""

from __future__ import annotations

import json as stdlib
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.socketio import json

many = settings(max_examples=200, derandomize=True, deadline=None, database=None)


def nested(depth: int, *innermost: Any) -> Any:
    """Arrays and objects, by turns, nested that deep."""
    value: Any = [*innermost]
    for level in range(1, depth):
        value = {"a": value} if level % 2 else [value]
    return value


class Oracle:
    """The same strictness, by the standard library."""

    MAX_DEPTH = json.MAX_DEPTH

    def loads(self, text: str) -> object:
        text = json._mended(text) if "\\u" in text else text
        try:
            data = self._decoder.decode(text)
        except RecursionError:
            raise ValueError("nested too deep") from None
        if json.is_deep(data):
            raise ValueError("nested too deep")
        return data

    def dumps(self, data: object, attachments: list[bytes]) -> bytes:
        def set_aside(value: object) -> object:
            if isinstance(value, bytes | bytearray | memoryview):
                attachments.append(bytes(value))
                return {"_placeholder": True, "num": len(attachments) - 1}
            raise TypeError(f"a value of type {type(value).__name__} cannot be sent")

        json.check(data)
        text = stdlib.dumps(data, ensure_ascii=False, separators=(",", ":"), default=set_aside)
        return text.encode()

    @staticmethod
    def _refuse(text: str) -> object:
        raise ValueError(f"{text} is not JSON")

    @staticmethod
    def _finite(text: str) -> float:
        if math.isinf(number := float(text)):
            raise ValueError(f"{text} is out of range")
        return number

    @staticmethod
    def _whole(text: str) -> float:
        if len(text) > len(str(-(2**63))):
            return Oracle._finite(text)
        number = int(text)
        return number if -(2**63) <= number < 2**64 else float(number)

    _decoder = stdlib.JSONDecoder(
        parse_constant=_refuse.__func__,  # type: ignore[attr-defined]
        parse_float=_finite.__func__,  # type: ignore[attr-defined]
        parse_int=lambda text: Oracle._whole(text),  # noqa: PLW0108 - not defined yet
    )


BOTH: list[Any] = [json, Oracle()]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (
            '["a",1,-1,1.5,true,false,null,{"b":[]}]',
            ["a", 1, -1, 1.5, True, False, None, {"b": []}],
        ),
        (" [\t1 ,\r\n2 ] ", [1, 2]),
        ("[-0,0e0,1E5,1e-999]", [0, 0.0, 1e5, 0.0]),
        (f"[{2**64 - 1},{-(2**63)}]", [2**64 - 1, -(2**63)]),
        (f"[{2**64},{-(2**63) - 1}]", [1.8446744073709552e19, -9.223372036854776e18]),
        (f"[{10**25}]", [1e25]),
        ("[1.7976931348623157e308]", [1.7976931348623157e308]),
        ('{"a":1,"a":2}', {"a": 2}),
        ('"\\u0000\\u00e9\\/\\"\\\\\\n"', '\0é/"\\\n'),
        ('"é€🦄\u2028"', "é€🦄\u2028"),
        ('"\\ud83e\\udd84"', "🦄"),
        ('"\\ud83d"', "\ufffd"),
        ('"\\uDE00"', "\ufffd"),
        ('"a\\ud83d\\ud83d\\ude00\\ude00b"', "a\ufffd😀\ufffdb"),
        ('"\\\\ud83d"', "\\ud83d"),
        ('"\\\\\\ud83d"', "\\\ufffd"),
        ('"\\\\ud83d\\ude00"', "\\ud83d\ufffd"),
        ('{"\\ud83d":"\\ud83d"}', {"\ufffd": "\ufffd"}),
    ],
)
def test_what_is_json_is_read(text, value):
    read = json.loads(text)
    assert read == value
    assert repr(read) == repr(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "NaN",
        "[NaN]",
        "[-NaN]",
        "[Infinity]",
        "[-Infinity]",
        "[1e999]",
        "[-1e999]",
        f"[{'1' * 400}]",
        f"[-{'1' * 5000}]",
        "[01]",
        "[1.]",
        "[.5]",
        "[+1]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{1:2}",
        '{"a":1,}',
        "['a']",
        '["a',
        '["a\n"]',
        '["\\x"]',
        '["\\u12"]',
        '["\\ud8"]',
        "[\\ud83d]",
        "[tru]",
        "[1]x",
        "[1]\0",
        "\ufeff[1]",
        "[" * 300,
        "[" * 100_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_json_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011  the words are those of the library
        json.loads(text)


@pytest.mark.parametrize("innermost", [[], [1], ["[" * 300]])
def test_nesting_is_read_to_a_limit(innermost):
    deepest = nested(json.MAX_DEPTH, *innermost)
    assert json.loads(stdlib.dumps(deepest)) == deepest
    for depth in (json.MAX_DEPTH + 1, 400, 900):
        with pytest.raises(ValueError, match=r"^nested too deep$"):
            json.loads(stdlib.dumps(nested(depth, *innermost)))


@pytest.mark.parametrize("one", ["[]", "{}", '["]"]', '{"[":1}'])
def test_arrays_and_objects_are_read_to_a_number(one):
    value = [stdlib.loads(one)] * (json.MAX_NESTED - 1)
    text = stdlib.dumps(value, separators=(",", ":"))
    assert json.loads(text) == value
    with pytest.raises(ValueError, match=r"^too many arrays and objects$"):
        json.loads(f"[{text[1:-1]},{one}]")


@pytest.mark.parametrize("text", ["[" * 300_000, '\\"[' * 300_000, '"[\\' * 200_000])
def test_brackets_in_a_long_text_do_not_count(text):
    assert json.loads(stdlib.dumps([text])) == [text]


def test_a_text_that_never_ends_is_read_once():
    with pytest.raises(ValueError, match=r"^(?!too many)"):
        json.loads('["' + '\\"[' * 300_000)


def test_brackets_in_text_do_not_count():
    value = [{"[" * 300: "{" * 300}] * 300
    assert json.loads(stdlib.dumps(value)) == value


@many
@given(st.text(st.sampled_from('[]{}",:\\u0123dDeE8+-.ntf a\n\ud83d')))
def test_both_read_the_same(text):
    found = []
    for each in BOTH:
        try:
            found.append(repr(each.loads(text)))
        except ValueError:
            found.append("refused")
    assert found[0] == found[1]


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@many
@given(VALUES)
def test_both_write_the_same(value):
    found = []
    for each in BOTH:
        attachments: list[bytes] = []
        try:
            found.append((stdlib.loads(each.dumps(value, attachments)), attachments))
        except (TypeError, ValueError):
            found.append(None)
    assert found[0] == found[1]


def test_what_is_written_is_utf_8_without_spaces():
    assert json.dumps(["é€🦄", {"a": (1, None)}], []) == '["é€🦄",{"a":[1,null]}]'.encode()


def test_bytes_are_set_aside_in_order():
    attachments: list[bytes] = []
    text = json.dumps([b"\0", {"a": bytearray(b"\1")}, (memoryview(b"\2"),)], attachments)
    assert stdlib.loads(text) == [
        {"_placeholder": True, "num": 0},
        {"a": {"_placeholder": True, "num": 1}},
        [{"_placeholder": True, "num": 2}],
    ]
    assert attachments == [b"\0", b"\1", b"\2"]
    assert {type(attachment) for attachment in attachments} == {bytes}


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (float("nan"), ValueError, "nan cannot be sent: JSON has no such number"),
        (float("inf"), ValueError, "inf cannot be sent: JSON has no such number"),
        (-float("inf"), ValueError, "-inf cannot be sent: JSON has no such number"),
        (2**64, ValueError, "an integer beyond 64 bits cannot be sent: send it as text"),
        (-(2**63) - 1, ValueError, "an integer beyond 64 bits cannot be sent: send it as text"),
        ({1: 2}, TypeError, "a key of type int cannot be sent: use text"),
        ({None: 2}, TypeError, "a key of type NoneType cannot be sent: use text"),
        (object(), TypeError, "a value of type object cannot be sent"),
        ({1, 2}, TypeError, "a value of type set cannot be sent"),
        (nested(254), ValueError, "data that nests too deep, or contains itself, cannot be sent"),
        (nested(5000), ValueError, "data that nests too deep, or contains itself, cannot be sent"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_clients_cannot_read_is_not_written(value, error, message):
    for data in (["event", value], ["event", {"a": (None, "NaN", value)}]):
        with pytest.raises(error) as caught:
            json.dumps(data, [])
        assert str(caught.value) == message


def test_half_an_emoji_is_not_written():
    with pytest.raises((TypeError, ValueError)):
        json.dumps(["event", "\ud83d"], [])


def test_what_contains_itself_is_not_written():
    value: list[Any] = []
    value.append(value)
    with pytest.raises(
        ValueError, match=r"^data that nests too deep, or contains itself, cannot be sent$"
    ):
        json.dumps(value, [])


def test_words_of_json_in_text_are_no_harm():
    value = ["NaN", "null", "Infinity", {"NaN": None}, 1.5]
    assert stdlib.loads(json.dumps(value, [])) == value


def test_what_is_read_can_be_written():
    deepest = nested(json.MAX_DEPTH)
    assert json.loads(json.dumps(deepest, []).decode()) == deepest
    assert json.dumps(nested(254), [])
