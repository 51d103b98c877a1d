"""docs/configuration.md is what the schema and the code say."""

from __future__ import annotations

import re

import pytest

from docs.reference import PAGE, render
from gateway.config.schema import schema_text
from tests.config.conftest import Load

TEXT = PAGE.read_text("utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


def test_the_reference_is_up_to_date() -> None:
    assert render(TEXT) == TEXT, "run `python docs/reference.py`"


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_right(load_text: Load, example: str) -> None:
    if "namespaces:" not in example:
        example += "namespaces: {/: }\n"
    assert load_text(example).namespaces


def test_every_word_for_a_value_is_in_the_schema() -> None:
    for unit in ("500ms", "25s", "20m", "1h", "64KB", "1MB"):
        assert unit in schema_text()
        assert f"`{unit}`" in TEXT
