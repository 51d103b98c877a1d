"""Keeps the bars: short functions, files by subject, and no `Any` where plugins look."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = [*sorted((ROOT / "gateway").rglob("*.py")), *sorted((ROOT / "plugins").rglob("*.py"))]

LINES = 500
FUNCTION_LINES = 40
METHODS = 20


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


def lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many lines a function has, its decorators and its docstring left out."""
    assert function.end_lineno is not None
    count = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        assert first.end_lineno is not None
        count -= first.end_lineno - first.lineno + 1
    return count


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def uses_of_any(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    """The public names whose definition says `Any`."""
    for node in body:
        name = getattr(node, "name", None)
        if isinstance(node, ast.ClassDef):
            if not node.name.startswith("_"):
                yield from uses_of_any(node.body, f"{node.name}.")
        elif name is None or not name.startswith("_") or name.startswith("__"):
            words = [each.id for each in ast.walk(node) if isinstance(each, ast.Name)]
            texts = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant)]
            if "Any" in words or "Any" in texts:
                yield f"{prefix}{name}"


@pytest.mark.parametrize("path", CODE, ids=short)
def test_a_file_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LINES


@pytest.mark.parametrize("path", CODE, ids=short)
def test_a_function_is_short(path: Path) -> None:
    found = {function.name: lines(function) for function in functions(path)}
    assert {name: count for name, count in found.items() if count > FUNCTION_LINES} == {}


@pytest.mark.parametrize("path", CODE, ids=short)
def test_a_class_has_one_subject(path: Path) -> None:
    """Overloads and the parts of a property count once."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
            found[node.name] = len({each.name for each in node.body if isinstance(each, kinds)})
    assert {name: count for name, count in found.items() if count > METHODS} == {}


@pytest.mark.parametrize("path", CODE, ids=short)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    assert not text.strip() or ast.get_docstring(ast.parse(text))


def test_plugins_meet_one_any_only() -> None:
    """`ctx.service.NAME`: only the YAML knows its type."""
    found = [
        use
        for name in ("api.py", "context.py")
        for use in uses_of_any(ast.parse((ROOT / "gateway" / name).read_text()).body)
    ]
    assert found == ["Services.__getattr__"]
