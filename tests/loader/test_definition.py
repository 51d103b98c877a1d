from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable

import pytest

from gateway.errors import Place
from gateway.loader.plugins import place_of

THIS = sys.modules[__name__]


def plain(function: Callable[[], None]) -> Callable[[], None]:
    @functools.wraps(function)
    def call() -> None:
        function()

    return call


@plain
def decorated() -> None: ...


class Outer:
    class Inner:
        def method(self) -> None: ...


@pytest.mark.parametrize(
    ("definition", "line", "column"),
    [
        (plain, 16, 1),
        (decorated, 24, 1),
        (Outer, 28, 1),
        (Outer.Inner, 29, 5),
        (Outer.Inner.method, 30, 9),
    ],
)
def test_place_is_where_the_author_wrote_it(definition: object, line: int, column: int) -> None:
    """Behind decorators, and with their lines included."""
    assert place_of(definition, THIS) == Place(__file__, line, column)


@pytest.mark.parametrize("definition", [1, len, type("Made", (), {})])
def test_place_of_what_is_not_written_is_its_module(definition: object) -> None:
    assert place_of(definition, THIS) == Place(__file__)


def test_place_in_a_module_without_file_is_the_modules_name() -> None:
    assert place_of(1, sys) == Place("sys")
    assert place_of(json, json) == Place(json.__file__)
