"""Plugins by name: those in the plugin folders, and those that are installed."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, NoneType
from typing import Protocol

from gateway.errors import Place, PluginError, Problem, did_you_mean
from gateway.loader.modules import PluginModules, describe
from gateway.loader.signature import (
    Role,
    definition_fault,
    is_async_callable,
    is_routine,
    signature_of,
)
from gateway.loader.sources import Sources, read_sources

__all__ = ["BrokenPlugin", "Plugin", "PluginSet", "load_plugins", "make_plugins", "method_fault"]


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin: the object that a plugin name leads to.

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

    @property
    def is_def(self) -> bool:
        """True of a plain `def` and of an `async def`, false of a class."""
        return inspect.isfunction(self.target)

    @property
    def is_hidden(self) -> bool:
        """True of what a decorator made that hides the signature of what it decorates."""
        target, own = self.target, self.name.rpartition(".")[2]
        if not inspect.isfunction(target) or hasattr(target, "__wrapped__"):
            return False
        takes_any = any(each.kind is each.VAR_POSITIONAL for each in _parameters(target))
        return takes_any and "<locals>" in target.__qualname__ and target.__name__ != own

    @property
    def methods(self) -> list[str]:
        """The names that lead to async methods of the class."""
        if self.method or not inspect.isclass(self.target):
            return []
        found = inspect.getmembers(self.target, inspect.iscoroutinefunction)
        return [f"{self.name}.{name}" for name, _ in found if not name.startswith("_")]


class _Home(Protocol):
    """A source of plugin modules: a folder or a distribution. `path` begins a plugin name."""

    def find(self, path: Sequence[str]) -> ModuleType | None: ...

    def digest(self, path: Sequence[str]) -> str: ...

    def modules(self) -> Iterable[tuple[str, ModuleType]]: ...


@dataclass(frozen=True, slots=True, eq=False)
class PluginSet:
    """Everything a plugin name can lead to.

    `digest` is the SHA-256 of all plugin files. `problems` are plugin files that cannot be
    imported, at the author's own lines. `faults` explain why a folder was left out; a missing
    folder is one of them.
    """

    digest: str
    problems: tuple[Problem, ...]
    faults: Mapping[Path, str]
    _made: PluginModules
    _homes: tuple[_Home, ...]

    @property
    def files(self) -> Mapping[Path, bytes]:
        """The plugin files and the bytes that were read."""
        return {Path(source.path): source.data for source in self._made.sources.files.values()}

    def install(self) -> Callable[[], None]:
        """Put the set's modules into `sys.modules`; call the result to put back what was there.

        To be done before the plugins are used: type annotations and `pickle` find classes there.
        Plugin code imports its own siblings without it.
        """
        return self._made.install()

    def place(self, error: BaseException) -> Place | None:
        """Return the innermost line of plugin code in the traceback, or `None`."""
        return self._made.place(error)

    def resolve(self, name: str, role: Role = "service") -> Plugin:
        """Return the plugin of that name, for use as `role`.

        Raises `PluginError` when there is none, or two, or when the object cannot be a plugin;
        `BrokenPlugin` when its file is among the problems already.
        """
        parts = split_name(name)
        with self._made.installed():
            found = sorted(self._find(parts), key=lambda plugin: plugin.place)
        if not found:
            raise PluginError(f"no plugin {name!r}{did_you_mean(name, self._names())}")
        faults = [kind_fault(plugin, role) for plugin in found]
        plugins = [plugin for plugin, fault in zip(found, faults, strict=True) if not fault]
        if not plugins:
            raise PluginError(f"{name!r}{faults[0]}", found[0].place)
        if len(plugins) > 1:
            places = " and ".join(str(plugin.place) for plugin in plugins)
            raise PluginError(f"{name!r} is in two places, {places}; rename one")
        return plugins[0]

    def _find(self, parts: Sequence[str]) -> Iterator[Plugin]:
        """Yield everything the name may mean, plugin or not."""
        for home in self._homes:
            for path, attribute, method in candidates(parts):
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


class BrokenPlugin(PluginError):
    """The name leads to a file that cannot be imported; a problem of the set explains why."""


@dataclass(frozen=True, slots=True)
class PluginFolder:
    """A plugin folder in one reading; `package` is its name."""

    package: str
    made: PluginModules

    def find(self, path: Sequence[str]) -> ModuleType | None:
        """The module at `path`, or `None`. Raises `BrokenPlugin`."""
        module = self._module(path)
        if module in self.made.broken:
            raise BrokenPlugin(f"{module} cannot be imported")
        return self.made.get(module)

    def digest(self, path: Sequence[str]) -> str:
        """Return the SHA-256 of the module's file and the plugin files behind it."""
        digest = hashlib.sha256()
        files = self.made.sources.files
        for name in sorted(self.made.files_behind(self._module(path))):
            digest.update(repr((name, len(files[name].data))).encode() + files[name].data)
        return digest.hexdigest()

    def modules(self) -> Iterator[tuple[str, ModuleType]]:
        """Yield the modules by the beginning of a plugin name."""
        for name, module in self.made.known().items():
            package, _, path = name.partition(".")
            if package == self.package and path:
                yield path, module

    def _module(self, path: Sequence[str]) -> str:
        return ".".join([self.package, *path])


GROUP = "sockgw.plugins"


@dataclass(frozen=True, slots=True)
class Installed:
    """A module offered as `name`; `origin` is the distribution and its version."""

    name: str
    module: str
    origin: str

    def find(self, path: Sequence[str]) -> ModuleType | None:
        """Return the module that the first parts of a plugin name lead to, or `None`.

        Raises `PluginError` when it exists and cannot be imported.
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
        """Return the distribution and its version, with which installed code changes."""
        return self.origin

    def modules(self) -> Sequence[tuple[str, ModuleType]]:
        """Return the modules that are imported already, by plugin name."""
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


def split_name(name: str) -> list[str]:
    """The parts of a plugin name, written out: `auth` is `auth.auth`. Raises `PluginError`."""
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        raise PluginError(f"{name!r} is not a plugin name: write module.attribute")
    if hidden := next((part for part in parts if part.startswith("_")), None):
        raise PluginError(f"no plugin {name!r}: {hidden} starts with '_', so it is not one")
    return parts * 2 if len(parts) == 1 else parts


def candidates(parts: Sequence[str]) -> Iterator[tuple[Sequence[str], str, str | None]]:
    """Yield the ways to read a name: as module and attribute, or as module, class and method."""
    yield parts[:-1], parts[-1], None
    if len(parts) > 2:
        yield parts[:-2], parts[-2], parts[-1]


def names_in(path: str, module: ModuleType) -> Iterator[str]:
    """Yield the plugin names a module defines, without those it imported from elsewhere."""
    for attribute, value in vars(module).items():
        if attribute.startswith("_") or not (inspect.isfunction(value) or inspect.isclass(value)):
            continue
        if f"{value.__module__}.".startswith(f"{module.__name__}."):
            yield attribute if attribute == path else f"{path}.{attribute}"
            if inspect.isclass(value):
                yield from _methods(f"{path}.{attribute}", value)


def _methods(name: str, kind: type) -> Iterator[str]:
    for method, value in vars(kind).items():
        if inspect.isfunction(value) and not method.startswith("_"):
            yield f"{name}.{method}"


def place_of(definition: object, module: ModuleType) -> Place:
    """Return the first line of a function's or class's definition, decorators included.

    Any other object is placed at the start of its module.
    """
    written = inspect.unwrap(definition) if callable(definition) else definition
    try:
        file = inspect.getsourcefile(written)  # type: ignore[arg-type]
        lines, line = inspect.getsourcelines(written)  # type: ignore[arg-type]
    except (TypeError, OSError):
        return Place(getattr(module, "__file__", None) or module.__name__)
    # A module itself begins at line 0 here.
    return Place(file or module.__name__, max(line, 1), len(lines[0]) - len(lines[0].lstrip()) + 1)


def kind_fault(plugin: Plugin, role: Role) -> str | None:
    """Return the rest of a sentence that begins with the name, or `None` if it can be a plugin.

    Functions, classes and methods of a class can be.
    """
    target, method = plugin.target, plugin.method
    definition = target if method is None else getattr(target, method)
    if method is not None and not is_routine(definition):
        return f" is {_kind(definition)}, not a method"
    if fault := definition_fault(definition, plugin.name, role):
        return f" {fault}" if fault.startswith("is ") else f": {fault}"
    if method is not None or inspect.isfunction(target) or inspect.isclass(target):
        return None
    advice = "; does its decorator return it?" if isinstance(target, NoneType) else ""
    return f" is {_kind(target)}, not a function or a class{advice}"


def method_fault(plugin: Plugin) -> str | None:
    """Return why the method of a class cannot take its instance, or `None`."""
    if plugin.method is None:
        return None
    function = inspect.getattr_static(plugin.target, plugin.method)
    if not inspect.isfunction(function):
        return None
    names = [each.name for each in _parameters(function)]
    if names[:1] not in ([], ["ctx"], ["context"]):
        return None
    return f"it is a method: write 'async def {plugin.method}({', '.join(['self', *names])})'"


def _parameters(target: Callable[..., object]) -> Iterable[inspect.Parameter]:
    return signature_of(target).parameters.values()


def _kind(value: object) -> str:
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"
