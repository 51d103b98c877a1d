"""Makes one plugin module from the bytes that were read, and finds out what it imports.

The imports are read from the syntax, so one inside a function or under `if TYPE_CHECKING` counts.
An import by a computed name (`importlib.import_module(variable)`) cannot be seen.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib.machinery import SourceFileLoader
from types import CodeType, ModuleType

__all__ = ["PluginLoader", "closure", "import_base", "imported_names"]


class PluginLoader(SourceFileLoader):
    """Loads the module `name` from `data`, with `builtins` as its built-in names.

    Neither reads nor writes bytecode: its time stamps are whole seconds, so two quick edits of
    the same size would be taken for one.
    """

    def __init__(self, name: str, path: str, data: bytes, builtins: Mapping[str, object]) -> None:
        super().__init__(name, path)
        self._data = data
        self._builtins = builtins
        self._imports: frozenset[str] | None = None

    @property
    def imports(self) -> frozenset[str]:
        """The names the file may import; empty when its syntax is wrong."""
        if self._imports is None:
            try:
                self._tree()
            except SyntaxError:
                return frozenset()
        return self._imports or frozenset()

    def get_data(self, path: str) -> bytes:
        return self._data if path == self.path else super().get_data(path)

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._tree(), self.path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = self._builtins
        super().exec_module(module)

    def _tree(self) -> ast.Module:
        """Parse the file. Raises `SyntaxError` with the file's name, and nothing else."""
        try:
            tree = ast.parse(self._data, self.path)
        except Exception as error:  # MemoryError and the like, when nested too deep
            if isinstance(error, SyntaxError) and error.filename:
                raise
            raise SyntaxError(str(error) or type(error).__name__, (self.path, 1, 1, None)) from None
        self._imports = imported_names(tree, self.name, self.is_package(self.name))
        return tree


def imported_names(tree: ast.AST, module: str, is_package: bool) -> frozenset[str]:
    """Return the full dotted names a file may import; `name.*` means everything below a name."""
    package = module if is_package else module.rpartition(".")[0]
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                # `import plugins` makes every `plugins.x.y` usable.
                names.add(alias.name if "." in alias.name else f"{alias.name}.*")
        elif isinstance(node, ast.ImportFrom):
            base = import_base(node, package)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return frozenset(names)


def closure(
    module: str, modules: Collection[str], imports: Callable[[str], Collection[str]]
) -> frozenset[str]:
    """Return the module, its packages and what they import, as far as it is among `modules`."""
    found: set[str] = set()
    waiting = {module}
    while waiting:
        reached = {each for name in waiting for each in _expand(name, modules)}
        new = reached - found
        found |= new
        waiting = {name for each in new for name in imports(each)}
    return frozenset(found)


def import_base(node: ast.ImportFrom, package: str) -> str:
    """Return the package or module that names are imported from."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    above = parts[: max(0, len(parts) - node.level + 1)]
    return ".".join([*above, *filter(None, [node.module])])


def _expand(name: str, modules: Collection[str]) -> Iterator[str]:
    """Yield the modules that importing `name` runs: each package on the way, and the last one."""
    if name.endswith(".*"):
        name = name[:-2]
        yield from (each for each in modules if each.startswith(f"{name}."))
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        prefix = ".".join(parts[:end])
        if prefix in modules:
            yield prefix
