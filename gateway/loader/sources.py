"""Reads the plugin folders into memory once; everything later is made from this reading."""

from __future__ import annotations

import hashlib
import importlib.util
import keyword
import os.path
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.errors import Place, Problem
from gateway.limits import LARGEST_FILE
from gateway.loader.plugin_loader import PluginLoader

__all__ = ["Source", "Sources", "folder_fault", "read_sources"]


@dataclass(frozen=True, slots=True)
class Source:
    """One plugin file. `module` is its full name, `path` absolute, `data` its bytes.

    A package without `__init__.py` has a source as well, an empty one.
    """

    module: str
    path: str
    data: bytes
    is_package: bool = False

    @property
    def is_plugin(self) -> bool:
        """True when names in the configuration can lead here: no part starts with `_`."""
        return not any(part.startswith("_") for part in self.module.split(".")[1:])


@dataclass(frozen=True, slots=True)
class Sources:
    """The plugin files as they were at one moment.

    `digest` is the SHA-256 of all of it. `files` are by module name, parents before children.
    `faults` explain why a folder is left out; `problems` are files that cannot be modules, and
    `broken` the modules they would have been.
    """

    digest: str
    packages: tuple[str, ...]
    files: Mapping[str, Source]
    faults: Mapping[Path, str]
    problems: tuple[Problem, ...]
    broken: frozenset[str]


def read_sources(folders: Sequence[Path]) -> Sources:
    """Read every Python file in and below the folders. Raises nothing."""
    reading = _Reading()
    packages: dict[str, Path] = {}
    faults: dict[Path, str] = {}
    for folder in folders:
        root = Path(os.path.abspath(folder))
        fault = folder_fault(root) or _taken(root, packages)
        if fault:
            faults[folder] = fault
        else:
            packages[root.name] = root
            reading.read_root(root)
    return Sources(
        digest=reading.digest(faults),
        packages=tuple(sorted(packages)),
        files=dict(sorted(reading.files.items())),
        faults=faults,
        problems=tuple(sorted(reading.problems)),
        broken=frozenset(reading.broken),
    )


def folder_fault(folder: Path) -> str | None:
    """Return why this cannot be a plugin folder, or `None`. A missing folder is a fault too."""
    folder = Path(os.path.abspath(folder))
    # Not `Path.exists`: it raises where a folder above may not be entered.
    if not os.path.exists(folder):
        return f"there is no folder {folder}"
    if not os.path.isdir(folder):
        return f"{folder} is not a folder"
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        return f"cannot read the folder {folder}: {error.strerror}"
    if not _is_name(folder.name):
        return f"Python cannot import a package named {folder.name!r}; rename the folder"
    if other := _other_module(folder):
        return f"Python already has a module {folder.name!r} ({other}); rename the folder"
    return None


def _taken(root: Path, packages: Mapping[str, Path]) -> str | None:
    other = packages.get(root.name)
    if other is None:
        return None
    if other == root:
        return f"the folder {root} is listed twice"
    return f"two plugin folders are named {root.name!r}: {other} and {root}; rename one"


def _other_module(folder: Path) -> str | None:
    """Return the location of another module with the folder's name, or `None`.

    A folder without `__init__.py` that merely lies on Python's path is no module of its own.
    """
    try:
        spec = importlib.util.find_spec(folder.name)
    except ValueError:  # `__main__` and its like have no spec
        return "always loaded"
    if spec is None or spec.origin == str(folder / "__init__.py"):
        return None
    return None if isinstance(spec.loader, PluginLoader) else spec.origin


def _is_name(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)


@dataclass(slots=True)
class _Reading:
    files: dict[str, Source] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)

    def read_root(self, root: Path) -> None:
        self._folder(root, root.name, ())
        self._package(root, root.name)

    def digest(self, faults: Mapping[Path, str]) -> str:
        digest = hashlib.sha256()
        for source in sorted(self.files.values(), key=lambda source: source.module):
            facts = (source.module, source.is_package, len(source.data))
            digest.update(repr(facts).encode() + source.data)
        digest.update(repr((sorted(map(str, self.problems)), sorted(faults.values()))).encode())
        return digest.hexdigest()

    def _folder(self, folder: Path, package: str, above: tuple[Path, ...]) -> None:
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            self._problem(folder, f"cannot read: {error.strerror}", package)
            return
        above = (*above, folder.resolve())
        for path in entries:
            if path.name.startswith("."):
                continue
            if os.path.isdir(path):
                self._subfolder(path, package, above)
            elif path.suffix == ".py":
                self._file(path, package)

    def _subfolder(self, folder: Path, package: str, above: tuple[Path, ...]) -> None:
        name = f"{package}.{folder.name}"
        if folder.resolve() in above:
            self._problem(folder, "this link leads back to a folder it is in; remove it")
        elif _is_name(folder.name):
            self._folder(folder, name, above)
            if any(module.startswith(f"{name}.") for module in self.files):
                self._package(folder, name)
        elif not folder.name.startswith("_") and any(folder.rglob("*.py")):
            self._misnamed(folder, folder.name)

    def _package(self, folder: Path, name: str) -> None:
        """Without an `__init__.py` the package is as if there were an empty one."""
        path = str(folder / "__init__.py")
        self.files.setdefault(name, Source(name, path, b"", is_package=True))

    def _file(self, path: Path, package: str) -> None:
        is_package = path.stem == "__init__"
        module = package if is_package else f"{package}.{path.stem}"
        if not _is_name(path.stem):
            if not path.stem.startswith("_"):
                self._misnamed(path, path.stem)
        elif module in self.files:
            self._problem(
                path,
                f"both {path.name} and the folder {path.stem} are {module}; rename one",
                module,
            )
        elif not os.path.isfile(path):
            self._problem(path, "cannot read: not a file, or a link to none", module)
        else:
            self._read(path, module, is_package)

    def _read(self, path: Path, module: str, is_package: bool) -> None:
        try:
            with path.open("rb") as file:
                data = file.read(LARGEST_FILE + 1)
        except OSError as error:
            self._problem(path, f"cannot read: {error.strerror}", module)
            return
        if len(data) > LARGEST_FILE:
            most = f"{LARGEST_FILE // 1_000_000} MB"
            self._problem(path, f"cannot read: larger than {most}", module)
        else:
            self.files[module] = Source(module, str(path), data, is_package)

    def _misnamed(self, path: Path, name: str) -> None:
        self._problem(path, f"rename it: Python cannot import a module named {name!r}")

    def _problem(self, path: Path, message: str, broken: str | None = None) -> None:
        self.problems.append(Problem(Place(str(path)), "", message))
        if broken:
            self.broken.add(broken)
