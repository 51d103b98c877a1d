from __future__ import annotations

import ast

import pytest

from gateway.loader.plugin_loader import closure, imported_names


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import json, os.path as p", {"json.*", "os.path"}),
        ("import plugins", {"plugins.*"}),
        ("import plugins.helper", {"plugins.helper"}),
        ("from plugins import a, b as c", {"plugins.a", "plugins.b"}),
        ("from plugins.a import *", {"plugins.a.*"}),
        ("from . import a", {"plugins.rooms.a"}),
        ("from .a import x", {"plugins.rooms.a.x"}),
        ("from ..a import x", {"plugins.a.x"}),
        ("from .. import *", {"plugins.*"}),
        ("from .... import beyond", {".beyond"}),
        ("def f():\n  from .a import x", {"plugins.rooms.a.x"}),
        ("if TYPE_CHECKING:\n  from .a import x", {"plugins.rooms.a.x"}),
        ("x = 1", set()),
    ],
)
def test_imports_are_read_from_the_syntax(source: str, expected: set[str]) -> None:
    assert imported_names(ast.parse(source), "plugins.rooms.lobby", is_package=False) == expected


def test_relative_imports_of_a_package_start_at_itself() -> None:
    tree = ast.parse("from .a import x")
    assert imported_names(tree, "plugins.rooms", is_package=True) == {"plugins.rooms.a.x"}


def test_closure_follows_imports_and_enters_packages() -> None:
    imports = {
        "p": set(),
        "p.a": {"p.r.b.x", "json"},
        "p.r": {"p.c"},
        "p.r.b": {"p.a.y"},
        "p.c": set(),
        "p.d": {"p.r.*"},
        "p.r.s": set(),
    }
    assert closure("p.a", imports, imports.__getitem__) == {"p", "p.a", "p.r", "p.r.b", "p.c"}
    assert closure("p.c", imports, imports.__getitem__) == {"p", "p.c"}
    assert closure("p.d", imports, imports.__getitem__) == imports.keys()
