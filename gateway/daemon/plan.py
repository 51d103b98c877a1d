"""The plan: the changes a new build makes, in the terms of its gateway.yaml."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from math import inf
from pathlib import Path
from typing import TypeVar

from gateway.compiler import Build
from gateway.config import HIDDEN
from gateway.config.model import (
    BackendConfig,
    ClusterConfig,
    GatewayConfig,
    Schema,
    ServerConfig,
    StaticFolder,
    TlsConfig,
    Use,
)
from gateway.limits import Limits, NamespaceLimits

__all__ = ["RESTART_KEYS", "Plan", "compare", "duration"]

T = TypeVar("T")

MOST_PAGES = 20
"""Pages that a plan names one by one; more than that are counted."""

BLOCKS = ("server", "reload", "limits", "admin", "api", "log")
SECRETS = ("token", "tokens")

RESTART_KEYS = ("path", "serializer", "workers")
"""Keys of `server` that only a restart can change: clients or processes depend on them."""

_BACKEND_KEYS = {"forward": "headers.forward", "set": "headers.set", "socket": "url"}
_UNITS = {"h": 3_600_000, "m": 60_000, "s": 1000}


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes from one build to the next.

    `changes` are lines such as `+ /news`, `- /chat route 'old'`, `~ service 'store': code`.
    `removed` are the namespaces whose sockets are closed, `pending` the keys that wait for a
    restart. `emptied` are globs and plugin folders that had files and have none now.
    """

    changes: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    emptied: tuple[str, ...] = ()


def compare(
    old: Build, new: Build, server: ServerConfig, cluster: ClusterConfig | None = None
) -> Plan:
    """Return the changes of serving `new` instead of `old`.

    `server` and `cluster` are the blocks in effect.
    """
    before, after = old.config.namespaces, new.config.namespaces
    emptied = tuple(_emptied(old, new))
    return Plan(
        changes=(
            *_blocks(old.config, new.config),
            *_cluster(old.config.cluster, new.config.cluster),
            *_services(old, new),
            *_backends(old.config, new.config),
            *_presence("{}", before, after),
            *(
                line
                for name in after
                if name in before
                for line in _namespace(name, old.config, new.config)
            ),
            *_files(_plugin_files(old), _plugin_files(new)),
            *_pages(_page_files(old), _page_files(new)),
            *(f"- {name}: had files, has none" for name in emptied),
        ),
        removed=tuple(name for name in before if name not in after),
        pending=(
            *(
                f"server.{key}"
                for key in RESTART_KEYS
                if getattr(server, key) != getattr(new.config.server, key)
            ),
            *(["cluster"] if cluster != new.config.cluster else []),
        ),
        emptied=emptied,
    )


def _emptied(old: Build, new: Build) -> Iterator[str]:
    """Yield the globs and plugin folders that had files and have none now.

    That may be meant. It may as well be a disk that is gone, and with it a guard.
    """
    before = {_glob(old, *pattern) for pattern, count in old.config.globs.items() if count}
    for pattern, count in new.config.globs.items():
        if not count and _glob(new, *pattern) in before:
            yield f"include {_glob(new, *pattern)}"
    was, now = (_plugin_folders(build) for build in (old, new))
    yield from (f"plugins {name}" for name, count in now.items() if not count and was.get(name))


def _glob(build: Build, folder: Path, pattern: str) -> str:
    return str(_near(folder, build.config.file.parent) / pattern)


def _plugin_folders(build: Build) -> dict[str, int]:
    """Count the plugin files of each folder, by its path as the gateway.yaml has it."""
    files = [Path(path) for path in _plugin_files(build)]
    folders = [_near(folder, build.config.file.parent) for folder, _ in build.config.plugins]
    return {str(each): sum(path.is_relative_to(each) for path in files) for each in folders}


def _blocks(old: GatewayConfig, new: GatewayConfig) -> Iterator[str]:
    folder = new.file.absolute().parent
    for block in BLOCKS:
        before, after = getattr(old, block), getattr(new, block)
        yield from _presence("{}", [block] if before else [], [block] if after else [])
        for key in (each.name for each in fields(after) if before) if after else ():
            if key == "handshake_middleware":
                yield from _chain(f"{block}.{key}", getattr(before, key), getattr(after, key))
                continue
            yield from _key(f"{block}.{key}", (block, key), (old, new), (before, after), folder)


def _cluster(old: ClusterConfig | None, new: ClusterConfig | None) -> Iterator[str]:
    yield from _presence("{}", ["cluster"] if old else [], ["cluster"] if new else [])
    if old and new and old != new:
        yield "~ cluster"


def _services(old: Build, new: Build) -> Iterator[str]:
    before, after = old.config.services, new.config.services
    yield from _presence("service '{}'", before, after)
    for name in after:
        if name not in before:
            continue
        if change := _use(before[name], after[name]):
            yield f"~ service '{name}': {change}"
        elif old.blueprint.services[name].key != new.blueprint.services[name].key:
            yield f"~ service '{name}': code"


def _backends(old: GatewayConfig, new: GatewayConfig) -> Iterator[str]:
    """Yield backends that change, by their keys: values may be secrets."""
    before, after = old.backends, new.backends
    yield from _presence("backend '{}'", before, after)
    for name in (each for each in after if each in before):
        was, now = before[name], after[name]
        keys = {
            _BACKEND_KEYS.get(each.name, each.name)
            for each in fields(BackendConfig)
            if getattr(was, each.name) != getattr(now, each.name)
        }
        if keys:
            yield f"~ backend '{name}': {', '.join(sorted(keys))}"


def _namespace(name: str, before: GatewayConfig, after: GatewayConfig) -> Iterator[str]:
    old, new = before.namespaces[name], after.namespaces[name]
    for chain in ("connection_middleware", "packet_middleware"):
        yield from _chain(f"{name} {chain}", getattr(old, chain), getattr(new, chain))
    at = "namespaces", name
    for key in ("connect_timeout", "packet_timeout", "order", "user"):
        yield from _key(f"{name} {key}", (*at, key), (before, after), (old, new))
    yield from _namespace_limits(name, before, after)
    yield from _presence(f"{name} route '{{}}'", old.routes, new.routes)
    for event in new.routes:
        if event not in old.routes:
            continue
        label, routes = f"{name} route '{event}'", (old.routes[event], new.routes[event])
        if change := _use(routes[0].use, routes[1].use):
            yield f"~ {label}: {change}"
        yield from _chain(f"{label} middleware", routes[0].middleware, routes[1].middleware)
        for key in ("timeout", "on_disconnect", "order", "max_values"):
            path = (*at, "routes", event, key)
            yield from _key(f"{label} {key}", path, (before, after), routes)
        if _written(routes[0].schema) != _written(routes[1].schema):
            yield f"~ {label} schema"


def _namespace_limits(name: str, before: GatewayConfig, after: GatewayConfig) -> Iterator[str]:
    """Yield changes of a namespace's limits, except those that only follow the gateway's."""
    old, new = before.namespaces[name].limits, after.namespaces[name].limits
    for key in (each.name for each in fields(new)):
        was, now = getattr(old, key), getattr(new, key)
        if (was, now) != (getattr(before.limits, key), getattr(after.limits, key)):
            path = "namespaces", name, "limits", key
            yield from _key(f"{name} limits.{key}", path, (before, after), (old, new))


def _key(
    label: str,
    path: tuple[str, ...],
    configs: tuple[GatewayConfig, GatewayConfig],
    blocks: tuple[object, object],
    folder: Path = Path(),
) -> Iterator[str]:
    """Compare the key at the end of `path` in two blocks, each from its config."""
    is_limit = isinstance(blocks[0], Limits | NamespaceLimits)
    paths = {path, path[-2:]} if is_limit else {path}  # a namespace's may be the gateway's
    was, now = (getattr(block, path[-1]) for block in blocks)
    if was != now and path[-1] in SECRETS:
        yield f"~ {label}"
    elif _plain(was) != _plain(now):
        before, after = (
            HIDDEN if any(map(config.secrets.hides, paths)) else _shown(value, folder)
            for config, value in zip(configs, (was, now), strict=True)
        )
        yield f"~ {label}: {before} -> {after}"


def _chain(label: str, was: tuple[Use, ...], now: tuple[Use, ...]) -> Iterator[str]:
    if _names(was) != _names(now):
        yield f"~ {label}: {_names(was)} -> {_names(now)}"
    elif [use.options for use in was] != [use.options for use in now]:
        yield f"~ {label}: options"


def _names(chain: tuple[Use, ...]) -> str:
    return f"[{', '.join(use.name for use in chain)}]"


def _use(old: Use, new: Use) -> str:
    """Return the change of a use. Values of options are left out because they may be secrets."""
    if old.name != new.name:
        return f"{old.name} -> {new.name}"
    if old.scope != new.scope:
        return f"scope {old.scope} -> {new.scope}"
    return "options" if old.options != new.options else ""


def _written(schema: Schema | None) -> object:
    return schema and schema.written


def _pages(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    lines = list(_files(before, after))
    if len(lines) <= MOST_PAGES:
        yield from lines
        return
    counts = Counter(line[0] for line in lines)
    told = {"+": "added", "~": "changed", "-": "removed"}
    yield f"~ pages: {', '.join(f'{counts[sign]} {word}' for sign, word in told.items())}"


def _page_files(build: Build) -> dict[str, str]:
    """Return the digests of the pages, by the paths of their files as the gateway.yaml has them."""
    folder = build.config.file.parent
    return {str(_near(Path(path), folder)): each for path, each in build.page_files.items()}


def _files(before: Mapping[str, T], after: Mapping[str, T]) -> Iterator[str]:
    yield from _presence("{}", before, after)
    yield from (f"~ {path}" for path in after if path in before and before[path] != after[path])


def _plugin_files(build: Build) -> dict[str, bytes]:
    """Return the plugin files by their paths as the gateway.yaml has them."""
    found: dict[str, bytes] = {}
    for folder, _ in build.config.plugins:
        root = Path(os.path.abspath(folder))
        for path, data in build.plugins.files.items():
            # An empty `__init__.py` may be one that only the loader knows of.
            if path.is_relative_to(root) and (data or path.name != "__init__.py"):
                written = _near(folder, build.config.file.parent) / path.relative_to(root)
                found[str(written)] = data
    return found


def _presence(label: str, before: Collection[str], after: Collection[str]) -> Iterator[str]:
    yield from (f"- {label.format(name)}" for name in before if name not in after)
    yield from (f"+ {label.format(name)}" for name in after if name not in before)


def _plain(value: object) -> object:
    """Return a value as it compares: its paths, however the gateway.yaml around it is named."""
    match value:
        case tuple():
            return tuple(map(_plain, value))
        case StaticFolder():
            return value.path, _plain(value.folder)
        case TlsConfig():
            return _plain(value.cert), _plain(value.key)
        case Path():
            return os.path.join(os.path.realpath(value.parent), value.name)
    return value


def _shown(value: object, folder: Path) -> str:
    """Return a value as it would be written in a gateway.yaml in `folder`."""
    match value:
        case None | bool():
            return "unset" if value is None else str(value).lower()
        case float():
            return "unlimited" if value == inf else duration(value)
        case tuple():
            return f"[{', '.join(_shown(each, folder) for each in value)}]"
        case StaticFolder():
            return f"{value.path}: {_near(value.folder.absolute(), folder)}"
        case Mapping():
            return f"{{{', '.join(f'{key}: {each}' for key, each in value.items())}}}"
        case Path():
            return str(_near(value, folder))
        case TlsConfig():
            return f"{_near(value.cert, folder)}, {_near(value.key, folder)}"
    return str(value)


def _near(path: Path, folder: Path) -> Path:
    return path.relative_to(folder) if path.is_relative_to(folder) else path


def duration(seconds: float) -> str:
    """Return a duration as a gateway.yaml has it: `20m`, `1500ms`."""
    ms = round(seconds * 1000)
    for unit, size in _UNITS.items():
        if ms and ms % size == 0:
            return f"{ms // size}{unit}"
    return f"{ms}ms"
