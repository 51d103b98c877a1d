"""Keeps the map true: docs/architecture.md lists every module, and every name in it exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gateway"
TEXT = (ROOT / "docs" / "architecture.md").read_text()

# The rows of the list of modules: one or more names before the colon.
_ROW = re.compile(r"^- ((?:`[\w.]+`(?:, )?)+): ", re.MULTILINE)
_DOTTED = re.compile(r"`([A-Za-z_]\w*(?:\.\w+)+)`")


def modules() -> dict[str, Path]:
    """Every module by its name below `gateway`; a package has the name of its folder."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def listed() -> list[str]:
    """The modules that the page lists, in its order."""
    _, _, section = TEXT.partition("\n## Modules\n")
    return [name for row in _ROW.findall(section) for name in re.findall(r"`([\w.]+)`", row)]


def names() -> list[str]:
    """The dotted names before the list of modules, without the file that users write."""
    text, _, _ = TEXT.partition("\n## Modules\n")
    return sorted({*_DOTTED.findall(text)} - {"gateway.yaml"})


def exists(name: str) -> bool:
    """Whether a name is a module, or defined in one: `module.Class.method`, for example."""
    parts = name.split(".")
    module = next(
        (".".join(parts[:end]) for end in range(len(parts), 0, -1) if _is_module(parts[:end])), ""
    )
    if not module:
        return False
    body = ast.parse(MODULES[module].read_text()).body
    for part in parts[module.count(".") + 1 :]:
        node = next((each for each in _statements(body) if part in _defined(each)), None)
        if node is None:
            return False
        body = node.body if isinstance(node, ast.ClassDef) else []
    return True


def _is_module(parts: list[str]) -> bool:
    return ".".join(parts) in MODULES


def _statements(body: list[ast.stmt]) -> list[ast.stmt]:
    """`body`, and what stands under an `if` in it."""
    inner = [each for node in body if isinstance(node, ast.If) for each in node.body + node.orelse]
    return body + inner


def _defined(node: ast.stmt) -> set[str]:
    """The names that a statement defines or imports."""
    match node:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return {node.name}
        case ast.Import() | ast.ImportFrom():
            return {alias.asname or alias.name for alias in node.names}
        case ast.Assign():
            return {each.id for each in node.targets if isinstance(each, ast.Name)}
        case ast.AnnAssign(target=ast.Name() as target):
            return {target.id}
    return set()


def test_every_module_is_listed_once() -> None:
    assert sorted(listed()) == sorted(MODULES)


def test_the_page_names_functions() -> None:
    assert len(names()) > 20


@pytest.mark.parametrize("name", names())
def test_a_name_exists(name: str) -> None:
    assert exists(name)


@pytest.mark.parametrize(
    "name", ["api.Nobody", "nowhere.at.all", "api.Socket.fly", "runtime.live.Live.swap.deeper"]
)
def test_a_name_that_is_gone_is_found_out(name: str) -> None:
    assert not exists(name)


@pytest.mark.parametrize("way", ["a packet", "a poll", "a broadcast", "a save"])
def test_the_four_ways_are_drawn(way: str) -> None:
    assert f"\n## The path of {way}\n" in TEXT
