"""The part of a document that has no problem, so that it can be checked as well."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.config.include import Document
from gateway.config.messages import KeyPath, dotted
from gateway.errors import Problem

__all__ = ["lacks_files", "sound_part"]

_SETTINGS = ("middleware", "timeout", "on_disconnect", "order", "schema", "max_values")


def sound_part(document: Document, problems: Iterable[Problem]) -> Document | None:
    """Leave out what has a problem; `None` when names of plugins could not be checked.

    That is so when the main file could not be read, or when the plugin folders are not known. A
    plugin whose options have a problem stays, without them, and is among the `doubtful`.
    """
    wrong = {problem.path for problem in problems}
    if any(path.partition("[")[0] == "plugins" for path in wrong):
        return None
    data: Any = copy.deepcopy(document.data)
    data.setdefault("namespaces", {})
    doubtful: set[KeyPath] = set()
    if lacks_files(document):
        if _is_unread(document) or not _has_plugins(document):
            return None
        names = data["namespaces"] if isinstance(data["namespaces"], dict) else {}
        doubtful.update(("namespaces", name) for name in names)
    for path in _places(document, wrong):
        plugin = _plugin(path)
        if plugin and path[len(plugin) :] and path[len(plugin)] not in ("use", *_SETTINGS):
            doubtful.add(plugin)
        if path[2:3] == ("routes",):
            doubtful.add(path[:2])
        _leave_out(data, _unit(path, plugin))
    if not isinstance(data.get("namespaces"), dict):
        data["namespaces"] = {}
    return replace(document, data=data, doubtful=frozenset(doubtful))


def lacks_files(document: Document) -> bool:
    """True if a file of the document could not be read, so that anything may be missing in it."""
    return any(each.path.partition("[")[0] in ("", "include") for each in document.problems)


def _is_unread(document: Document) -> bool:
    """True if the main file itself could not be read."""
    main = document.values[()].file
    return any(each.path == "" and each.place.file == main for each in document.problems)


def _has_plugins(document: Document) -> bool:
    """True if the plugin folders are known though a file is missing, which could name others."""
    main = Path(document.values[()].file)
    return "plugins" in document.data or (main.parent / "plugins").is_dir()


def _places(document: Document, wrong: Collection[str]) -> Iterator[KeyPath]:
    """Yield the paths of what is wrong, the innermost first."""
    paths = {*document.values, *document.keys} - {()}
    found = (path for path in paths if dotted(path) in wrong)
    return iter(sorted(found, key=len, reverse=True))


def _plugin(path: KeyPath) -> KeyPath | None:
    """Return the path of the plugin that `path` is in: a service, a route or middleware."""
    match path:
        case ("services", _, *_):
            return path[:2]
        case ("server", "handshake_middleware", int(), *_):
            return path[:3]
        case ("namespaces", _, "routes", _, "middleware", int(), *_):
            return path[:6]
        case ("namespaces", _, "routes", _, *_):
            return path[:4]
        case ("namespaces", _, "connection_middleware" | "packet_middleware", int(), *_):
            return path[:4]
    return None


def _unit(path: KeyPath, plugin: KeyPath | None) -> KeyPath:
    """Return the smallest part around `path` that can be left out."""
    if plugin:
        key = path[len(plugin) : len(plugin) + 1]
        return plugin if key in ((), ("use",)) else (*plugin, *key)
    if path[0] != "namespaces":
        return path[:2]
    return path[:4] if path[2:3] == ("limits",) else path[:3]


def _leave_out(data: Any, path: KeyPath) -> None:
    """Remove the value at `path`. An item of a list becomes `None`: others keep their position."""
    *parents, last = path
    for key in parents:
        try:
            data = data[key]
        except (KeyError, TypeError):  # the block around it is left out, or is none
            return
    if isinstance(data, list):
        data[int(last)] = None
    elif isinstance(data, dict):
        data.pop(last, None)
