"""Plugin modules in `sys.modules`, where one reading has its modules at a time.

A reading installs its modules and later restores those of the reading before. The lock is held
only while modules are exchanged, never while plugin code runs: nothing ever waits for a plugin.
"""

from __future__ import annotations

import linecache
import sys
import threading
import typing
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from types import ModuleType

__all__ = ["Placed", "abandon"]

_LOCK = threading.RLock()
_abandoned: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


class Abandoned(BaseException):
    """Ends a thread that was left behind."""


class Placed(MetaPathFinder):
    """The modules of one reading: in `sys.modules` while they are installed, else put aside.

    `_lines` are the source lines for `linecache` meanwhile.
    """

    def __init__(self, packages: tuple[str, ...]) -> None:
        self._packages = packages
        self._aside: dict[str, ModuleType] = {}
        self._displaced: dict[str, ModuleType] = {}
        self._claim: _Claim | None = None
        self._lines: Mapping[str, tuple[int, None, list[str], str]] = {}

    def owns(self, name: str) -> bool:
        """Tell whether a module of this name can only be in the reading."""
        return name.partition(".")[0] in self._packages

    def known(self) -> Mapping[str, ModuleType]:
        """Return the modules that exist so far, by name."""
        with _LOCK:
            if _holder() is not self:
                return self._aside
            # A copy, because other threads may import meanwhile.
            modules = sys.modules.copy()
            return {name: module for name, module in modules.items() if self.owns(name)}

    def get(self, name: str) -> ModuleType | None:
        """Return the module of that name, or `None`."""
        with _LOCK:
            return self._where().get(name)

    def made(self, name: str) -> ModuleType:
        """Return the module of that name once it has run; it may have replaced itself."""
        with _LOCK:
            return self._where()[name]

    def put(self, name: str, module: ModuleType) -> None:
        """Set the module of a name."""
        with _LOCK:
            self._where()[name] = module

    def drop(self, name: str) -> None:
        """Remove the module of a name."""
        with _LOCK:
            self._where().pop(name, None)

    def install(self) -> Callable[[], None]:
        """Put the modules into `sys.modules`; call the result to put back what was there."""
        with _LOCK:
            if threading.current_thread() in _abandoned:
                raise Abandoned
            holder = _holder()
            if holder is self:
                return lambda: None
            former = holder._claim.living() if holder and holder._claim else None
            if holder:
                holder._leave()
            claim = self._claim = _Claim(self, former)
            self._enter()
        return claim.end

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Install the modules for the duration of a `with` block."""
        undo = self.install()
        try:
            yield
        finally:
            undo()

    def _where(self) -> dict[str, ModuleType]:
        return sys.modules if _holder() is self else self._aside

    def _enter(self) -> None:
        self._displaced = self._take()
        sys.modules.update(self._aside)
        # A new list: an import in another thread would skip a finder if the list shifted.
        sys.meta_path = [self, *sys.meta_path]
        linecache.cache.update(self._lines)

    def _leave(self) -> None:
        self._aside = self._take()
        sys.modules.update(self._displaced)
        sys.meta_path = [each for each in sys.meta_path if each is not self]
        for path in self._lines:
            linecache.cache.pop(path, None)
        for forget in getattr(typing, "_cleanups", ()):  # its caches keep `Optional[Plugin]` alive
            forget()

    def _take(self) -> dict[str, ModuleType]:
        return {name: sys.modules.pop(name) for name in list(sys.modules) if self.owns(name)}


class _Claim:
    """A reading's claim to be installed, until it ends or the reading is gone."""

    def __init__(self, reading: Placed, former: _Claim | None) -> None:
        self._reading = weakref.ref(reading)
        self._former = former
        self._ended = False
        self.thread = threading.current_thread()

    def living(self) -> _Claim | None:
        """Return this claim or, if it has ended, the newest one before it that has not."""
        if self._former is not None:
            self._former = self._former.living()
        return self._former if self._ended or self._reading() is None else self

    def end(self) -> None:
        """Restore the modules of the claim before, if this claim's are still installed."""
        with _LOCK:
            self._ended = True
            reading = self._reading()
            if reading is None or reading is not _holder() or reading._claim is not self:
                return
            reading._leave()
            claim = self.living()
            heir = claim and claim._reading()
            if claim and heir:
                heir._claim = claim
                heir._enter()

    def end_those_of(self, thread: threading.Thread) -> None:
        if self._former is not None:
            self._former.end_those_of(thread)
        if self.thread is thread:
            self.end()


def abandon(thread: threading.Thread) -> None:
    """End the claims of `thread`, and let it make no more."""
    with _LOCK:
        _abandoned.add(thread)
        holder = _holder()
        if holder and holder._claim:
            holder._claim.end_those_of(thread)


def _holder() -> Placed | None:
    return next((each for each in sys.meta_path if isinstance(each, Placed)), None)
