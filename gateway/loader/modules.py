"""Plugin modules, made together from one reading of the sources.

Each reading has modules of its own, and those of one reading at a time are in `sys.modules`.
Import statements in plugin code are bound to the reading that the code belongs to, whenever they
run: an old function that imports a sibling gets the old sibling.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import io
import linecache
import sys
import threading
import traceback
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from gateway.errors import Place, Problem
from gateway.loader.imports import closure
from gateway.loader.plugin_loader import PluginLoader
from gateway.loader.sources import Source, Sources

__all__ = ["PluginModules", "describe"]

# Held while modules change places, so that a thread's import never sees two readings.
_PLACES = threading.RLock()


class PluginModules(MetaPathFinder):
    """The modules of one reading, and the finder that makes them.

    `modules` are those imported so far, `broken` the names of those that cannot be, `problems`
    says why.
    """

    def __init__(self, sources: Sources) -> None:
        """Import every plugin file. `sys.modules` is afterwards as it was before."""
        self.sources = sources
        self.modules: dict[str, ModuleType] = {}
        self.broken = set(sources.broken)
        self._displaced: dict[str, ModuleType] = {}
        own_builtins = {**vars(builtins), "__import__": self._import}
        self._loaders = {
            source.module: PluginLoader(source.module, source.path, source.data, own_builtins)
            for source in sources.files.values()
        }
        self._lines = dict(_lines(sources))
        self.problems = tuple(sorted({*sources.problems, *self._import_plugins()}))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if loader := self._loaders.get(fullname):
            return importlib.util.spec_from_file_location(fullname, loader.path, loader=loader)
        if self._owns(fullname):  # or the next finder would take it from the disk
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None

    def files_behind(self, module: str) -> frozenset[str]:
        """The modules that `module` is made from: itself and the plugin files it imports."""
        return closure(module, self._loaders, lambda name: self._loaders[name].imports)

    def install(self) -> Callable[[], None]:
        """Put the modules into `sys.modules`; call the result to put back what was there."""
        with _PLACES:
            if self in sys.meta_path:
                return lambda: None
            former = next((each for each in sys.meta_path if isinstance(each, PluginModules)), None)
            if former:
                former._leave()
            self._enter()

        def undo() -> None:
            with _PLACES:
                if self in sys.meta_path:
                    self._leave()
                    if former:
                        former._enter()

        return undo

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Have the modules in `sys.modules` for the time of a `with` block."""
        with _PLACES:
            undo = self.install()
            try:
                yield
            finally:
                undo()

    def _import_plugins(self) -> Iterator[Problem]:
        with self.installed():
            for source in self.sources.files.values():
                if source.is_plugin:
                    try:
                        importlib.import_module(source.module)
                    except BaseException as error:  # a `sys.exit()` in a plugin ends no daemon
                        self.broken.add(source.module)
                        yield self._problem(error, source.path)
                    else:
                        yield from self._hidden(source)

    def _hidden(self, package: Source) -> Iterator[Problem]:
        """What a package calls by the name of a file in it: importing the file would hide it."""
        for source in self.sources.files.values():
            parent, _, name = source.module.rpartition(".")
            is_new = source.is_plugin and source.module not in sys.modules
            if parent == package.module and is_new and name in vars(sys.modules[parent]):
                self.broken |= {package.module, source.module}
                message = f"{package.path} has a {name!r} as well; rename one"
                yield Problem(Place(source.path), "", message)

    def _problem(self, error: BaseException, importing: str) -> Problem:
        return Problem(
            self._place(error) or Place(importing), "", f"cannot import: {describe(error)}"
        )

    def _place(self, error: BaseException) -> Place | None:
        """Where it went wrong, in the plugin author's own words: the innermost plugin line."""
        paths = {source.path for source in self.sources.files.values()}
        if isinstance(error, SyntaxError) and error.filename in paths:
            return Place(error.filename, error.lineno or 1, max(error.offset or 1, 1))
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if frame.filename in paths:
                return Place(frame.filename, frame.lineno or 1, (frame.colno or 0) + 1)
        return None

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        """What import statements of these modules call."""
        if level == 0 and not self._owns(name):
            return builtins.__import__(name, globals, locals, fromlist, level)
        with self.installed():
            return builtins.__import__(name, globals, locals, fromlist, level)

    def _owns(self, name: str) -> bool:
        return name.partition(".")[0] in self.sources.packages

    def _enter(self) -> None:
        self._displaced = self._take()
        sys.modules.update(self.modules)
        sys.meta_path.insert(0, self)
        linecache.cache.update(self._lines)

    def _leave(self) -> None:
        self.modules = self._take()
        sys.modules.update(self._displaced)
        sys.meta_path.remove(self)
        for path in self._lines:
            linecache.cache.pop(path, None)
        for forget in getattr(typing, "_cleanups", ()):  # its caches keep `Optional[Plugin]` alive
            forget()

    def _take(self) -> dict[str, ModuleType]:
        return {name: sys.modules.pop(name) for name in list(sys.modules) if self._owns(name)}


def describe(error: BaseException) -> str:
    """The error's type and the first line of what it says."""
    try:
        text = str(error.msg or "" if isinstance(error, SyntaxError) else error)
    except Exception:  # an author's own `__str__` may fail as well
        text = ""
    return ": ".join([type(error).__name__, *text.splitlines()[:1]])


def _lines(sources: Sources) -> Iterator[tuple[str, tuple[int, None, list[str], str]]]:
    """What tracebacks shall show: the lines that were read, not what the disk holds by then."""
    for source in sources.files.values():
        with suppress(SyntaxError, UnicodeDecodeError):
            lines = io.StringIO(importlib.util.decode_source(source.data)).readlines()
            yield source.path, (len(source.data), None, lines, source.path)
