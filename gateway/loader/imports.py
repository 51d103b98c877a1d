"""Which plugin files a plugin file is made from: itself and, transitively, what it imports.

Read from the syntax, so an import inside a function or under `if TYPE_CHECKING` counts. What is
imported by a computed name (`importlib.import_module(variable)`) cannot be seen.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterator

__all__ = ["closure", "imported_names"]


def imported_names(tree: ast.AST, module: str, is_package: bool) -> frozenset[str]:
    """The full dotted names a file may import; `name.*` stands for all that is below a name."""
    package = module if is_package else module.rpartition(".")[0]
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                # `import plugins` makes every `plugins.x.y` usable.
                names.add(alias.name if "." in alias.name else f"{alias.name}.*")
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return frozenset(names)


def closure(
    module: str, modules: Collection[str], imports: Callable[[str], Collection[str]]
) -> frozenset[str]:
    """The module, its packages and what they import, as far as these are among `modules`."""
    found: set[str] = set()
    waiting = {module}
    while waiting:
        reached = {each for name in waiting for each in _expand(name, modules)}
        new = reached - found
        found |= new
        waiting = {name for each in new for name in imports(each)}
    return frozenset(found)


def _base(node: ast.ImportFrom, package: str) -> str:
    """The package or module that names are imported from."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    above = parts[: max(0, len(parts) - node.level + 1)]
    return ".".join([*above, *filter(None, [node.module])])


def _expand(name: str, modules: Collection[str]) -> Iterator[str]:
    """The modules that importing `name` runs: each package on the way, and the last one."""
    if name.endswith(".*"):
        name = name[:-2]
        yield from (each for each in modules if each.startswith(f"{name}."))
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        prefix = ".".join(parts[:end])
        if prefix in modules:
            yield prefix
