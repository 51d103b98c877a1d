"""Advice on a plugin file that cannot be imported: the line at fault, and what to write instead."""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path, PurePath

from gateway.errors import Place
from gateway.loader.sources import Source, Sources

__all__ = ["advice", "circle", "excerpt"]

_OWN = "sockgw"  # the distribution, which is not the package
_PIPX = "pipx_metadata.json"  # in every environment that pipx makes
_IMPORT = re.compile(r"import (\w+)((?: as \w+)?)")
_NO_NAME = re.compile(r"cannot import name '(\w+)' from '([\w.]+)'")
_FROM = re.compile(r"from (\S+) import (.+)")


def advice(error: BaseException, place: Place, sources: Sources) -> str:
    """Return `; write '...'` for a mistake that is known, or `""`."""
    line = _line(place, sources).strip()
    if isinstance(error, ModuleNotFoundError) and error.name:
        first = error.name.partition(".")[0]
        if first == _OWN:
            instead = re.sub(rf"\b{_OWN}\b", "gateway", line, count=1)
            return f"; the package is named 'gateway': write '{instead}'"
        if sibling := _sibling(line, first, place, sources):
            return f"; write '{sibling}'"
    if near := _near(error, sources):
        return f", did you mean {near!r}?"
    if files_of := circle(error, sources):
        files = " and ".join(PurePath(path).name for path in files_of)
        return f"; {files} import each other: move '{line}' into the function that needs it"
    return _install(error)


def _install(error: BaseException) -> str:
    """Return how to add a package to the environment that pipx made for sockgw, or `""`."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    if not name or "." in name or not Path(sys.prefix, _PIPX).is_file():
        return ""
    return f"; sockgw is installed by pipx: add the package with 'pipx inject {_OWN} {name}'"


def excerpt(place: Place, sources: Sources) -> str:
    """Return the line at a place and a caret below its column, indented by four; `""` for none."""
    line = _line(place, sources).rstrip()
    text = line.lstrip()
    if not text:
        return ""
    column = max(place.column - 1 - (len(line) - len(text)), 0)
    blank = re.sub("[^\t]", " ", text[:column]).ljust(column)
    return f"    {text}\n    {blank}^"


def _sibling(line: str, name: str, place: Place, sources: Sources) -> str | None:
    """Write the import of a plugin file as one, if `name` is a plugin file."""
    package = next((_package(each) for each in _at(place, sources)), "")
    below = "." if f"{package}.{name}" in sources.files else ""
    root = next((each for each in sources.packages if f"{each}.{name}" in sources.files), "")
    if not below and not root:
        return None
    if found := _IMPORT.fullmatch(line):
        return f"from {below or root} import {found[1]}{found[2]}"
    if found := _FROM.fullmatch(line):
        return f"from {below or f'{root}.'}{found[1]} import {found[2]}"
    return None


def circle(error: BaseException, sources: Sources) -> tuple[str, ...]:
    """Return the files that import each other, when `error` came of that."""
    if isinstance(error, AttributeError):
        module = getattr(error.obj, "__name__", "")
    else:
        module = (error.name or "") if isinstance(error, ImportError) else ""
    source = sources.files.get(module)
    frames = traceback.extract_tb(error.__traceback__)
    paths = {each.path for each in sources.files.values()}
    running = [each.filename for each in frames if each.name == "<module>"]
    running = [path for path in running if path in paths]
    # A module of which something is missing while it still runs.
    is_circle = source is not None and source.path in running[:-1]
    return (running[-1], source.path) if is_circle and source else ()


def _near(error: BaseException, sources: Sources) -> str | None:
    """Return a module or a name of the package that is near to the one there is not."""
    if isinstance(error, ModuleNotFoundError):
        known, name = [*sources.files], error.name or ""
    else:
        found = _NO_NAME.match(str(error)) if isinstance(error, ImportError) else None
        known = getattr(sys.modules.get(found[2]), "__all__", []) if found else []
        name = found[1] if found else ""
    return next(iter(get_close_matches(name, known, n=1)), None)


def _package(source: Source) -> str:
    return source.module if source.is_package else source.module.rpartition(".")[0]


def _at(place: Place, sources: Sources) -> Iterator[Source]:
    return (each for each in sources.files.values() if each.path == place.file)


def _line(place: Place, sources: Sources) -> str:
    for source in _at(place, sources):
        with suppress(SyntaxError, UnicodeDecodeError):
            lines = importlib.util.decode_source(source.data).split("\n")
            return lines[place.line - 1] if place.line <= len(lines) else ""
    return ""
