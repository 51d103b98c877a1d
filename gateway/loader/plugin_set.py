"""Plugins by name: those of one reading of the plugin folders, and those that are installed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol

from gateway.errors import Place, PluginError, Problem
from gateway.loader.definition import kind_fault, place_of
from gateway.loader.folder import PluginFolder
from gateway.loader.installed import installed_plugins
from gateway.loader.modules import PluginModules
from gateway.loader.names import did_you_mean, names_in, readings, split_name
from gateway.loader.signature import is_async_callable
from gateway.loader.sources import Sources, read_sources

__all__ = ["Plugin", "PluginSet", "load_plugins", "make_plugins"]


@dataclass(frozen=True, slots=True)
class Plugin:
    """What a plugin name stands for.

    `name` is written out (`auth.auth`). `target` is the function or class; for a method of a
    class it is the class, and `method` the method's name. `place` is where the author wrote it.
    `digest` is equal as long as its file and the plugin files that file imports are; for an
    installed plugin it is the distribution and its version.
    """

    name: str
    target: Callable[..., object]
    method: str | None
    place: Place
    digest: str

    @property
    def is_factory(self) -> bool:
        """An `async def` is the thing itself; a class or a plain `def` makes it."""
        return not is_async_callable(self.target)


class _Home(Protocol):
    """Where plugin modules are: in a folder, or installed. `path` begins a plugin name."""

    def find(self, path: Sequence[str]) -> ModuleType | None: ...

    def digest(self, path: Sequence[str]) -> str: ...

    def modules(self) -> Iterable[tuple[str, ModuleType]]: ...


@dataclass(frozen=True, slots=True, eq=False)
class PluginSet:
    """Everything a plugin name can lead to.

    `digest` is the SHA-256 of all plugin files. `problems` are plugin files that cannot be
    imported, at the author's own lines. `faults` tell why a folder was left out, which includes
    that it does not exist.
    """

    digest: str
    problems: tuple[Problem, ...]
    faults: Mapping[Path, str]
    _made: PluginModules
    _homes: tuple[_Home, ...]

    @property
    def files(self) -> Mapping[Path, bytes]:
        """The plugin files and what was read from them."""
        return {Path(source.path): source.data for source in self._made.sources.files.values()}

    def install(self) -> Callable[[], None]:
        """Put the set's modules into `sys.modules`; call the result to put back what was there.

        To be done before the plugins are used: type annotations and `pickle` find classes there.
        Plugin code imports its own siblings without it.
        """
        return self._made.install()

    def resolve(self, name: str) -> Plugin:
        """The plugin of that name.

        Raises `PluginError` when there is none, or two, or when it is something that cannot be
        a plugin; `BrokenPlugin` when its file is among the problems already.
        """
        parts = split_name(name)
        with self._made.installed():
            found = sorted(self._find(parts), key=lambda plugin: plugin.place)
        if not found:
            raise PluginError(f"no plugin {name!r}{did_you_mean(name, self._names())}")
        faults = [kind_fault(plugin.target, plugin.method) for plugin in found]
        plugins = [plugin for plugin, fault in zip(found, faults, strict=True) if not fault]
        if not plugins:
            raise PluginError(f"{name!r} {faults[0]}", found[0].place)
        if len(plugins) > 1:
            places = " and ".join(str(plugin.place) for plugin in plugins)
            raise PluginError(f"{name!r} is in two places, {places}; rename one")
        return plugins[0]

    def _find(self, parts: Sequence[str]) -> Iterator[Plugin]:
        """Everything the name may mean, plugin or not."""
        for home in self._homes:
            for path, attribute, method in readings(parts):
                module = home.find(path)
                if module is None or attribute not in vars(module):
                    continue
                target = definition = vars(module)[attribute]
                if method is not None:
                    if not (inspect.isclass(target) and hasattr(target, method)):
                        continue
                    definition = getattr(target, method)
                place = place_of(definition, module)
                yield Plugin(".".join(parts), target, method, place, home.digest(path))

    def _names(self) -> list[str]:
        return [
            name
            for home in self._homes
            for path, module in home.modules()
            for name in names_in(path, module)
        ]


def load_plugins(folders: Sequence[Path], former: PluginSet | None = None) -> PluginSet:
    """Read the plugin folders and import every plugin file in them; see `make_plugins`."""
    return make_plugins(read_sources(folders), former)


def make_plugins(sources: Sources, former: PluginSet | None = None) -> PluginSet:
    """Import every plugin file, as one set.

    Returns `former` itself when it has the same content and no problems. `sys.modules` is
    afterwards as it was before. Raises nothing: see `problems` and `faults`.
    """
    if former and not former.problems and former._made.sources == sources:
        return former
    made = PluginModules(sources)
    homes: tuple[_Home, ...] = (
        *(PluginFolder(each, made) for each in sources.packages),
        *installed_plugins(),
    )
    return PluginSet(sources.digest, made.problems, sources.faults, made, homes)
