"""Turns a document without problems into the frozen config.

Everything in the config is frozen except the values of options: plugins are called with them and
their authors expect lists and dicts. Each config has its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, ItemsView, Iterator, Mapping
from dataclasses import fields
from ipaddress import ip_network
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gateway.config.backends import Kinds, backends_of
from gateway.config.cluster import build_cluster
from gateway.config.include import Data, Document
from gateway.config.messages import KeyPath, url_path, with_slash
from gateway.config.model import (
    AdminConfig,
    ApiConfig,
    ApiToken,
    At,
    GatewayConfig,
    LogConfig,
    NamespaceConfig,
    ReloadConfig,
    RouteConfig,
    Schema,
    ServerConfig,
    StaticFolder,
    TlsConfig,
    Use,
)
from gateway.errors import Place
from gateway.limits import Limits, NamespaceLimits, Unit, unit_of

__all__ = ["build", "byte_count", "seconds"]


_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PORTS = {"http": ":80", "https": ":443"}
_BYTES = {"KB": 1_000, "MB": 1_000_000}
_WRITTEN = re.compile(r"([0-9.]+)([a-zA-Z]*)")


def seconds(written: str | float) -> float:
    """`500ms`, `25s`, `20m` or `1h` in seconds; a number is seconds already."""
    return _times(written, _SECONDS)


def byte_count(written: str | float) -> int:
    """`64KB` or `1MB` in bytes, 1 KB being 1000; a number is bytes already."""
    return round(_times(written, _BYTES))


def _times(written: str | float, units: dict[str, float] | dict[str, int]) -> float:
    found = _WRITTEN.fullmatch(str(written))
    if isinstance(written, str) and found:
        return float(found[1]) * units.get(found[2], 1)
    return float(written)


def _origins(written: str | list[str]) -> str | tuple[str, ...]:
    return written if isinstance(written, str) else tuple(map(_origin, written))


def _origin(written: str) -> str:
    """An origin as browsers send it: in lower case, and without its scheme's default port."""
    origin = written.lower()
    return origin.removesuffix(_PORTS.get(origin.partition(":")[0], ""))


def _proxy(written: str) -> str:
    """One of `trusted_proxies` in one form: `10.0.0.0/8`, `127.0.0.1` or `unix`."""
    if written == "unix":
        return written
    network = ip_network(written)
    return str(network.network_address if network.num_addresses == 1 else network)


def _unless_unlimited(kind: Callable[[Any], object]) -> Callable[[Any], object]:
    return lambda written: inf if written == "unlimited" else kind(written)


MOST_WORKERS = 64
"""The most workers that the schema allows; `auto` is held to it."""


def _workers(written: str | int) -> int:
    """The number of workers: `auto` is one for each CPU that this process may use, on Linux."""
    if written == "auto":
        return min(MOST_WORKERS, len(os.sched_getaffinity(0))) if sys.platform == "linux" else 1
    return int(written)


_SERVER: Kinds = {
    "workers": _workers,
    "host": str,
    "port": int,
    "socket_mode": str,
    "path": url_path,
    "transports": tuple,
    "cors_origins": _origins,
    "ping_interval": seconds,
    "ping_timeout": seconds,
    "max_payload": byte_count,
    "serializer": str,
    "compression": bool,
    "stop_timeout": seconds,
    "trusted_proxies": lambda written: tuple(map(_proxy, written)),
    "proxy_protocol": bool,
}
_RELOAD: Kinds = {
    "watch": str,
    "quiet": seconds,
    "poll_interval": seconds,
    "load_timeout": seconds,
    "drain": seconds,
    "close_window": seconds,
    "last_good": bool,
}
_LOG: Kinds = {
    "format": str,
    "level": str,
    "levels": lambda written: MappingProxyType(written or {}),
}
_SESSIONS: Kinds = {"notify": tuple, "path": str, "alive": seconds}
_SPOOL: Kinds = {"entries": int, "bytes": byte_count}
_BACKEND: Kinds = {
    "timeout": seconds,
    "concurrency": int,
    "queue": int,
    "auth": tuple,
    "breaker": bool,
    "format": str,
    "max_answer": byte_count,
}
_UNITS: Mapping[Unit, Callable[[Any], object]] = {
    "count": int,
    "size": byte_count,
    "seconds": seconds,
    "choice": str,
}
_ADDRESS = frozenset({"host", "port", "socket"})
_OF_A_MACHINE: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("server", "admin", "api"), _ADDRESS),
    "cluster": frozenset({"redis", "nats", "listen"}),
}


def _limits_of(block: type[Limits | NamespaceLimits]) -> Kinds:
    return {each.name: _unless_unlimited(_UNITS[unit_of(each)]) for each in fields(block)}


_LIMITS = _limits_of(Limits)
_NAMESPACE_LIMITS = _limits_of(NamespaceLimits)
_NAMESPACE: Kinds = {
    "connect_timeout": seconds,
    "packet_timeout": seconds,
    "order": str,
    "user": lambda written: written,
}
_ROUTE: Kinds = {"timeout": seconds, "on_disconnect": str, "order": str, "max_values": int}


def build(file: Path, document: Document) -> GatewayConfig:
    """The config of a document in which neither the schema nor the rules find a problem."""
    data: Any = document.data
    folder = document.folder.absolute()
    limits = Limits(**_given(data.get("limits"), _LIMITS))
    return GatewayConfig(
        file=file,
        at=At("", Place(str(file))),
        files=document.files,
        globs={pattern: len(found or ()) for pattern, found in document.record.globs.items()},
        digest=_digest(data),
        fingerprint=_digest(_of_all_machines(document.written)),
        secrets=document.secrets,
        server=_server(folder, document),
        reload=ReloadConfig(**_given(data.get("reload"), _RELOAD)),
        limits=limits,
        admin=_admin(folder, data),
        api=_api(folder, data),
        log=LogConfig(**_given(data.get("log"), _LOG)),
        cluster=build_cluster(folder, data.get("cluster")),
        plugins=_plugins(file, document),
        services=MappingProxyType(
            {
                name: _use(document, value, "services", name)
                for name, value in _items(data, "services")
            }
        ),
        namespaces=MappingProxyType(
            {
                with_slash(name): _namespace(document, limits, value or {}, "namespaces", name)
                for name, value in _items(data, "namespaces")
            }
        ),
        backends=backends_of(
            document, folder, {"backend": _BACKEND, "sessions": _SESSIONS, "spool": _SPOOL}
        ),
        backend_names=frozenset(
            str(path[1]) for path in document.keys if path[0] == "backends" and len(path) == 2
        ),
    )


def _of_all_machines(written: Data) -> Data:
    """What is written, without what may be different on each machine."""
    if not isinstance(written, dict):
        return written
    kept = dict(written)
    for block, keys in _OF_A_MACHINE.items():
        found = kept.get(block)
        if isinstance(found, dict):
            kept[block] = {key: value for key, value in found.items() if key not in keys}
    return kept


def _digest(data: object) -> str:
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _given(data: Mapping[str, Any] | None, kinds: Kinds) -> dict[str, Any]:
    """Convert the keys that are present; the config has defaults for the others."""
    return {key: kind(data[key]) for key, kind in kinds.items() if data and key in data}


def _items(data: Mapping[str, Any], key: str) -> ItemsView[str, Any]:
    return (data.get(key) or {}).items()


def _server(folder: Path, document: Document) -> ServerConfig:
    def chain(written: list[Any] | None) -> tuple[Use, ...]:
        return _chain(document, written, "server", "handshake_middleware")

    def static(written: Mapping[str, str] | None) -> tuple[StaticFolder, ...]:
        return tuple(
            StaticFolder(
                url_path(path), document.folder / each, document.at("server", "static", path)
            )
            for path, each in (written or {}).items()
        )

    kinds: Kinds = {
        **_SERVER,
        "socket": _path(folder),
        "tls": _tls(folder),
        "handshake_middleware": chain,
        "static": static,
    }
    data: Any = document.data
    return ServerConfig(**_given(data.get("server"), kinds))


def _chain(document: Document, written: list[Any] | None, *path: str | int) -> tuple[Use, ...]:
    listed = enumerate(written or ())
    return tuple(_use(document, each, *path, index) for index, each in listed if each)


def _tls(folder: Path) -> Callable[[Any], TlsConfig | None]:
    def tls(written: Mapping[str, str] | None) -> TlsConfig | None:
        if written is None:
            return None
        return TlsConfig(folder / written["cert"], folder / written["key"])

    return tls


def _path(folder: Path) -> Callable[[Any], Path | None]:
    return lambda written: folder / written if written else None


def _admin(folder: Path, data: Mapping[str, Any]) -> AdminConfig | None:
    if "admin" not in data:
        return None
    kinds: Kinds = {
        "host": str,
        "port": int,
        "socket": _path(folder),
        "token": lambda written: written,
    }
    return AdminConfig(**_given(data["admin"], kinds))


def _api(folder: Path, data: Mapping[str, Any]) -> ApiConfig | None:
    if not data.get("api"):
        return None
    kinds: Kinds = {
        "host": str,
        "port": int,
        "socket": _path(folder),
        "tls": _tls(folder),
        "hosts": lambda written: tuple(each.lower() for each in written),
        "tokens": lambda written: tuple(map(_api_token, written)),
    }
    return ApiConfig(**_given(data["api"], kinds))


def _api_token(written: Mapping[str, Any]) -> ApiToken:
    scopes = (each.partition(":") for each in written["scopes"])
    return ApiToken(
        written["name"],
        written["token"],
        tuple(f"{what}:{with_slash(name)}" if name else what for what, _, name in scopes),
    )


def _plugins(file: Path, document: Document) -> tuple[tuple[Path, At], ...]:
    folders: Any = document.data.get("plugins")
    if folders is None:
        return ((file.parent / "plugins", At("plugins", Place(str(file)))),)
    if isinstance(folders, str):
        return ((file.parent / folders, document.at("plugins")),)
    return tuple(
        (file.parent / folder, document.at("plugins", index))
        for index, folder in enumerate(folders)
    )


def _namespace(
    document: Document, limits: Limits, data: Mapping[str, Any], *path: str | int
) -> NamespaceConfig:
    def chain(key: str) -> tuple[Use, ...]:
        return _chain(document, data.get(key), *path, key)

    routes = {
        event: _route(document, value, *path, "routes", event)
        for event, value in _items(data, "routes")
    }
    return NamespaceConfig(
        connection_middleware=chain("connection_middleware"),
        packet_middleware=chain("packet_middleware"),
        routes=MappingProxyType(routes),
        limits=_namespace_limits(limits, data.get("limits")),
        is_whole=path not in document.doubtful,
        **_given(data, _NAMESPACE),
    )


def _namespace_limits(limits: Limits, data: Mapping[str, Any] | None) -> NamespaceLimits:
    of_the_gateway = {
        "handlers_per_socket": limits.handlers_per_socket,
        "packets_per_second": limits.packets_per_second,
        "rooms_per_socket": limits.rooms_per_socket,
        "sockets_per_user": limits.sockets_per_user,
    }
    return NamespaceLimits(**{**of_the_gateway, **_given(data, _NAMESPACE_LIMITS)})


def _route(document: Document, value: Any, *path: str | int) -> RouteConfig:
    def schema(written: Any) -> Schema:
        parts = _parts(written, ())
        return Schema(written, {part: document.at(*path, "schema", *part) for part in parts})

    def chain(written: list[Any] | None) -> tuple[Use, ...]:
        return _chain(document, written, *path, "middleware")

    long_form = value if isinstance(value, dict) else {}
    given = _given(long_form, {**_ROUTE, "middleware": chain, "schema": schema})
    return RouteConfig(_use(document, value, *path), **given)


def _parts(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    """Yield the paths of a value and of everything in it."""
    yield path
    inner = value.items() if isinstance(value, dict) else ()
    for key, each in enumerate(value) if isinstance(value, list) else inner:
        yield from _parts(each, (*path, key))


def _use(document: Document, value: Any, *path: str | int) -> Use:
    if isinstance(value, str):
        return Use(value, document.at(*path))
    options = value.get("with") or {}
    stand = {key: document.key_at(*path, "with", key) for key in options}
    at = document.at(*path, "use")
    return Use(
        name=value["use"],
        at=at,
        options=MappingProxyType(options),
        option_at=MappingProxyType(stand),
        is_whole=path not in document.doubtful,
        scope=value.get("scope", "member"),
    )
