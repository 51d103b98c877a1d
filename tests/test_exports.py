"""Keeps `__all__`: there, sorted, and all that the other modules take."""

from __future__ import annotations

import ast
import importlib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gateway"
PATHS = {
    ".".join(("gateway", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__main__.py" and ("templates" not in path.parent.parts or "__" in path.name)
}
EMPTY = {name for name, path in PATHS.items() if not path.read_text().strip()}
EXPORTING = sorted(PATHS.keys() - EMPTY)


def exported(module: str) -> list[str]:
    return list(importlib.import_module(module).__all__)


def order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest: as ruff sorts."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2), name


@cache
def taken() -> dict[str, set[tuple[str, str]]]:
    """The names that are taken from each module of the package, each with who takes it."""
    found = defaultdict(set)
    for taker, source, name in imports():
        found[source].add((name, taker))
    return found


def imports() -> Iterator[tuple[str, str, str]]:
    """Who takes which name from which module of the package."""
    for taker, path in PATHS.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in PATHS:
                for alias in node.names:
                    if f"{node.module}.{alias.name}" not in PATHS:
                        yield taker, node.module, alias.name


@pytest.mark.parametrize("module", EXPORTING)
def test_all_is_sorted_and_true(module: str) -> None:
    names = exported(module)
    assert names == sorted(set(names), key=order)
    assert [name for name in names if not hasattr(importlib.import_module(module), name)] == []


@pytest.mark.parametrize("module", EXPORTING)
def test_all_is_complete(module: str) -> None:
    names = exported(module)
    missing = {(name, taker) for name, taker in taken()[module] if name not in names}
    assert missing == set()


def test_the_package_offers_what_api_context_and_errors_do() -> None:
    """All but what is the gateway's own side."""
    worlds = ("gateway.api", "gateway.context", "gateway.errors")
    offered = {name for world in worlds for name in exported(world)}
    offered -= {"DataT", "Emitter", "Wire", "did_you_mean"}
    assert set(exported("gateway")) == offered
