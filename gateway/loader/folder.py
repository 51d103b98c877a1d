"""One plugin folder: which module of its package the first parts of a plugin name lead to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType

from gateway.errors import PluginError
from gateway.loader.modules import PluginModules

__all__ = ["BrokenPlugin", "PluginFolder"]


class BrokenPlugin(PluginError):
    """The name leads to a file that cannot be imported: a problem of the set says why."""


@dataclass(frozen=True, slots=True)
class PluginFolder:
    """A plugin folder by the name of its package, in one reading."""

    package: str
    made: PluginModules

    def find(self, path: Sequence[str]) -> ModuleType | None:
        """The module at `path`, or `None`. Raises `BrokenPlugin`."""
        module = self._module(path)
        if module in self.made.broken:
            raise BrokenPlugin(f"{module} cannot be imported")
        return self.made.get(module)

    def digest(self, path: Sequence[str]) -> str:
        """The SHA-256 of the module's file and the plugin files behind it."""
        digest = hashlib.sha256()
        files = self.made.sources.files
        for name in sorted(self.made.files_behind(self._module(path))):
            digest.update(repr((name, len(files[name].data))).encode() + files[name].data)
        return digest.hexdigest()

    def modules(self) -> Iterator[tuple[str, ModuleType]]:
        """The modules by what a plugin name starts with."""
        for name, module in self.made.known().items():
            package, _, path = name.partition(".")
            if package == self.package and path:
                yield path, module

    def _module(self, path: Sequence[str]) -> str:
        return ".".join([self.package, *path])
