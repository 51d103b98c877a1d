"""Makes one plugin module from the bytes that were read, whatever the disk says by then."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from types import CodeType, ModuleType

from gateway.loader.imports import imported_names

__all__ = ["PluginLoader"]


class PluginLoader(SourceFileLoader):
    """Loads the module `name` from `data`; the module sees `builtins` as its built-in names.

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
        """The names the file may import; none when its syntax is wrong."""
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
