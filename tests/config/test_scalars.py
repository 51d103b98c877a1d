from __future__ import annotations

import math

import pytest

from gateway.config.yaml import Plain, typed


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, None) for text in ("~", "null", "Null", "NULL")),
        *((text, True) for text in ("true", "True", "TRUE")),
        *((text, False) for text in ("false", "False", "FALSE")),
        ("0", 0),
        ("-12", -12),
        ("+7", 7),
        ("007", 7),
        ("0o17", 15),
        ("0xfF", 255),
        ("1.5", 1.5),
        ("-.5", -0.5),
        ("3.", 3.0),
        ("1e3", 1000.0),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
    ],
)
def test_a_value_is_what_yaml_1_2_says(text: str, value: Plain) -> None:
    assert typed(text) == value
    assert type(typed(text)) is type(value)


def test_not_a_number_is_one() -> None:
    value = typed(".nan")
    assert isinstance(value, float)
    assert math.isnan(value)


TEXTS = """
    yes Yes no on off y n tRUE nULL 12:30 190:20:30 2024-01-31 1_000 0b11 0o8 0x +-1 1e . - .e1
    1.2.3 -.nan inf nan = << 12e5678 \u0661 0x\u0661
"""


@pytest.mark.parametrize("text", TEXTS.split())
def test_anything_else_is_text(text: str) -> None:
    assert typed(text) == text


def test_nothing_is_text() -> None:
    assert typed("") == ""


def test_more_digits_than_python_reads_are_text() -> None:
    assert typed("9" * 5000) == "9" * 5000
    assert typed("0x" + "f" * 5000) == "0x" + "f" * 5000
