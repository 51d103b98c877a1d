"""Plugins that are installed: those built in, and what distributions offer by entry point.

They are ordinary modules: imported when a name first leads to them, and not reloaded.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

from gateway.errors import PluginError
from gateway.loader.modules import describe

__all__ = ["GROUP", "Installed", "installed_plugins"]

GROUP = "sockgw.plugins"


@dataclass(frozen=True, slots=True)
class Installed:
    """A module offered as `name`; `origin` is the distribution and its version."""

    name: str
    module: str
    origin: str

    def find(self, path: Sequence[str]) -> ModuleType | None:
        """The module that the first parts of a plugin name lead to, or `None`.

        Raises `PluginError` when it is there and cannot be imported.
        """
        if path[0] != self.name:
            return None
        module = ".".join([self.module, *path[1:]])
        try:
            return importlib.import_module(module)
        except BaseException as error:
            if len(path) > 1 and isinstance(error, ModuleNotFoundError) and error.name == module:
                return None
            raise PluginError(
                f"cannot import {module!r} of {self.origin}: {describe(error)}"
            ) from error

    def digest(self, path: Sequence[str]) -> str:
        """The distribution and its version: what is installed changes with these."""
        return self.origin

    def modules(self) -> Sequence[tuple[str, ModuleType]]:
        """What is imported already, by plugin name."""
        module = sys.modules.get(self.module)
        return [(self.name, module)] if module else []


def installed_plugins() -> tuple[Installed, ...]:
    """The built-in plugins and those of the entry-point group `sockgw.plugins`."""
    offered = importlib.metadata.entry_points(group=GROUP)
    return (
        Installed("builtin", "gateway.builtin", "sockgw"),
        *(Installed(each.name, each.value, _origin(each)) for each in offered),
    )


def _origin(entry_point: importlib.metadata.EntryPoint) -> str:
    distribution = entry_point.dist
    return f"{distribution.name} {distribution.version}" if distribution else entry_point.value
