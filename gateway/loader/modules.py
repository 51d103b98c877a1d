"""Plugin modules, imported together from one reading of the sources.

Each reading has its own modules. Import statements in plugin code are bound to the reading that
the code belongs to, whenever they run and whichever reading is in `sys.modules`: an old function
that imports a sibling gets the old sibling, and never waits for a reload.
"""

from __future__ import annotations

import builtins
import importlib.util
import io
import re
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from types import ModuleType

from gateway.errors import Place, Problem
from gateway.loader.import_advice import advice, circle, excerpt
from gateway.loader.plugin_loader import PluginLoader, closure
from gateway.loader.sources import Source, Sources
from gateway.loader.sysmodules import Placed

__all__ = ["PluginModules", "describe"]


class PluginModules(Placed):
    """The modules of one reading, and the finder that makes them.

    `broken` are the names of those that cannot be imported; `problems` explain why.
    """

    def __init__(self, sources: Sources) -> None:
        """Import every plugin file. `sys.modules` is afterwards as it was before."""
        super().__init__(sources.packages)
        self.sources = sources
        self.broken = set(sources.broken)
        own_builtins = {**vars(builtins), "__import__": self._import}
        self._loaders = {
            source.module: PluginLoader(source.module, source.path, source.data, own_builtins)
            for source in sources.files.values()
        }
        self._lines = dict(_lines(sources))
        self._making = threading.RLock()
        self.problems = tuple(sorted({*sources.problems, *self._import_plugins()}))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if loader := self._loaders.get(fullname):
            return importlib.util.spec_from_file_location(fullname, loader.path, loader=loader)
        if self.owns(fullname):  # the next finder would read it from the disk
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None

    def files_behind(self, module: str) -> frozenset[str]:
        """Return the modules that `module` is made from: itself and the plugin files it imports."""
        return closure(module, self._loaders, lambda name: self._loaders[name].imports)

    def _import_plugins(self) -> Iterator[Problem]:
        circles: set[frozenset[str]] = set()  # each is one mistake
        with self.installed():
            for source in self.sources.files.values():
                if source.is_plugin:
                    try:
                        self._module(source.module)
                    except (
                        BaseException
                    ) as error:  # `sys.exit()` in a plugin must not end the daemon
                        self.broken.add(source.module)
                        files = frozenset(circle(error, self.sources))
                        if not files or files not in circles:
                            yield self._problem(error, source.path)
                        circles.add(files)
                    else:
                        yield from self._hidden(source)

    def _hidden(self, package: Source) -> Iterator[Problem]:
        """Find names in a package that importing a file of the same name would hide."""
        for source in self.sources.files.values():
            parent, _, name = source.module.rpartition(".")
            is_new = source.is_plugin and self.get(source.module) is None
            if parent == package.module and is_new and name in vars(self.get(parent)):
                self.broken |= {package.module, source.module}
                message = f"{package.path} has a {name!r} as well; rename one"
                yield Problem(Place(source.path), "", message)

    def _problem(self, error: BaseException, importing: str) -> Problem:
        place = self.place(error) or Place(importing)
        return Problem(
            place,
            "",
            f"cannot import: {describe(error)}{advice(error, place, self.sources)}",
            excerpt(place, self.sources) if isinstance(error, SyntaxError) else "",
        )

    def place(self, error: BaseException) -> Place | None:
        """Return the innermost line of plugin code in the traceback, or `None`."""
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
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Import a module for import statements in these modules; see `__import__`."""
        if level:
            package = str((globals or {}).get("__package__") or "")
            name = importlib.util.resolve_name("." * level + name, package)
        if not self.owns(name):
            return builtins.__import__(name, globals, locals, fromlist or (), 0)
        module = self._module(name)
        if not fromlist:
            return self._module(name.partition(".")[0])
        for each in getattr(module, "__all__", ()) if "*" in fromlist else fromlist:
            if f"{name}.{each}" in self._loaders and not hasattr(module, each):
                self._module(f"{name}.{each}")
        return module

    def _module(self, name: str) -> ModuleType:
        """Return the module of that name; the first call makes it."""
        with self._making:
            parent, _, last = name.rpartition(".")
            package = self._module(parent) if parent else None  # importing the package may make it
            if module := self.get(name):
                return module
            spec = self.find_spec(name)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            self.put(name, module)
            if package:
                # Before it runs, for files that import each other.
                setattr(package, last, module)
            try:
                spec.loader.exec_module(module)
                return self.made(name)
            except BaseException:
                self.drop(name)
                if package and vars(package).get(last) is module:
                    delattr(package, last)
                raise


def describe(error: BaseException) -> str:
    """Return the error's type and the first line of its text."""
    try:
        text = str(error.msg or "" if isinstance(error, SyntaxError) else error)
    except Exception:  # an author's own `__str__` may fail as well
        text = ""
    text = re.sub(r"^(cannot import name .*) \(.*\)$", r"\1", "".join(text.splitlines()[:1]))
    return ": ".join(filter(None, [type(error).__name__, text]))


def _lines(sources: Sources) -> Iterator[tuple[str, tuple[int, None, list[str], str]]]:
    """Yield `linecache` entries, so that tracebacks show the lines that were read."""
    for source in sources.files.values():
        with suppress(SyntaxError, UnicodeDecodeError):
            lines = io.StringIO(importlib.util.decode_source(source.data)).readlines()
            yield source.path, (len(source.data), None, lines, source.path)
