"""Checks of a gateway.yaml that the schema cannot make."""

from __future__ import annotations

import keyword
import os
import re
import sys
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from itertools import combinations

from gateway.config.cluster import cluster_problems
from gateway.config.include import Data, Document
from gateway.config.messages import is_loopback, url_path, with_slash
from gateway.config.model import AdminConfig, ApiConfig, GatewayConfig, ServerConfig
from gateway.errors import Problem, did_you_mean

__all__ = ["LOGGERS", "problems", "warnings"]

_SOCKET_PATH = 107
"""Bytes: `sun_path` of Linux, without the zero at its end (unix(7))."""

_UNSENDABLE = {
    "connect_error": "connection_middleware refuses connections",
    "newListener": "choose another name",
    "removeListener": "choose another name",
}

_STARRED = re.compile(r"[a-z][a-z0-9+.-]*://(?!\*\.[^*.:][^*]*$)[^*/]*\*[^/:]*(:[0-9]{1,5})?")
"""An origin with a `*` that does not stand for the subdomains of a host."""

LOGGERS = (
    *("sockgw", "sockgw.admin", "sockgw.backend", "sockgw.builtin", "sockgw.cluster"),
    *("sockgw.engine", "sockgw.flow", "sockgw.plugin", "sockgw.push", "sockgw.reload"),
    *("sockgw.server", "sockgw.service", "sockgw.socketio"),
)
"""The gateway's own loggers."""

_GATEWAY_EVENTS = ("cluster", "connect", "disconnect", "disconnecting", "error")

_CLIENTS_ONLY = {
    "middleware": "{!r} is the gateway's own event, which passes no middleware; leave this out",
    "schema": "the arguments of {!r} are the gateway's own; leave this out",
}
"""Keys of a route that are only for events of clients."""


def problems(document: Document) -> Iterator[Problem]:
    """Find listeners, services, namespaces and routes that cannot be as they are written."""
    if sys.platform != "linux":
        yield from _no_workers(document)
    yield from _open_admin(document)
    yield from _tokens(document)
    yield from _addresses(document)
    yield from _unix_sockets(document)
    yield from _static_paths(document)
    yield from _proxies(document)
    yield from cluster_problems(document)
    for name in _mapping(document.data.get("services")):
        if keyword.iskeyword(name):
            message = f"'ctx.service.{name}' is no Python: {name!r} is a keyword; rename it"
            yield document.key_at("services", name).problem(message)
    yield from _bad_patterns(document)
    namespaces = _mapping(document.data.get("namespaces"))
    first: dict[str, str] = {}
    for name, namespace in namespaces.items():
        other = first.setdefault(with_slash(name), name)
        if other != name:
            place = document.key_at("namespaces", other).place
            message = f"this is the namespace {other!r} at {place} again"
            yield document.key_at("namespaces", name).problem(message)
        for event, route in _mapping(_mapping(namespace).get("routes")).items():
            for key in _CLIENTS_ONLY if event in _GATEWAY_EVENTS else ():
                if key in _mapping(route):
                    at = document.key_at("namespaces", name, "routes", event, key)
                    yield at.problem(_CLIENTS_ONLY[key].format(event))
            if event in _UNSENDABLE:
                message = f"a client can never send {event!r}; {_UNSENDABLE[event]}"
                yield document.key_at("namespaces", name, "routes", event).problem(message)


def _no_workers(document: Document) -> Iterator[Problem]:
    workers = _mapping(document.data.get("server")).get("workers")
    if isinstance(workers, int) and workers > 1:
        message = "several workers need Linux: write 1, or auto, which is 1 on this system"
        yield document.at("server", "workers").problem(message)


def _open_admin(document: Document) -> Iterator[Problem]:
    admin = _mapping(document.data.get("admin"))
    host = admin.get("host", "localhost")
    is_open = "token" not in admin and "socket" not in admin and not is_loopback(str(host))
    if is_open and not _more_than_a_host(str(host)):
        text = document.shown(host, "admin", "host").strip("'")
        message = f"{text} can be reached from other machines: add a token"
        yield document.at("admin", "host").problem(message)


def _tokens(document: Document) -> Iterator[Problem]:
    """Find tokens of the api that have the name or the secret of another."""
    tokens = _mapping(document.data.get("api")).get("tokens")
    first: dict[tuple[str, str], int] = {}
    for index, token in enumerate(tokens if isinstance(tokens, list) else ()):
        for key in ("name", "token"):
            if not isinstance(value := _mapping(token).get(key), str):
                continue
            other = first.setdefault((key, value), index)
            if other != index:
                message = f"this is the {key} of tokens[{other}] again; write another one"
                yield document.at("api", "tokens", index, key).problem(message)


_LISTENERS: Mapping[str, ServerConfig | AdminConfig | ApiConfig] = {
    "server": ServerConfig(),
    "admin": AdminConfig(),
    "api": ApiConfig(),
}
"""The blocks of listeners, and what they are by default."""


def _addresses(document: Document) -> Iterator[Problem]:
    """Find hosts that are more than a host, and one port for two listeners."""
    for block in _LISTENERS:
        host = _mapping(document.data.get(block)).get("host")
        if isinstance(host, str) and (advice := _more_than_a_host(host)):
            text = document.shown(host, block, "host")
            message = f"expected a host name or an address, got {text}; {advice}"
            yield document.at(block, "host").problem(message)
    there = [block for block in _LISTENERS if block == "server" or block in document.data]
    for former, block in combinations(there, 2):
        one, other = (_mapping(document.data.get(each)) for each in (former, block))
        if one.get("socket") or other.get("socket"):
            continue
        port = one.get("port", _LISTENERS[former].port)
        hosts = {_plain_host(each.get("host")) for each in (one, other)}
        is_same = port == other.get("port", _LISTENERS[block].port) != 0
        if is_same and (len(hosts) == 1 or hosts & {"0.0.0.0", "::"}):
            message = f"port {port} is {_OF[former]}; write another one"
            yield document.around(block, "port").problem(message)
            return


def _unix_sockets(document: Document) -> Iterator[Problem]:
    """Find Unix sockets with too long a path, with a host or port, or one for two listeners."""
    server = _mapping(document.data.get("server"))
    paths: dict[str, str] = {}
    for block in _LISTENERS:
        written = _mapping(document.data.get(block)).get("socket")
        if not isinstance(written, str):
            continue
        other = paths.setdefault(os.path.abspath(document.folder / written), block)
        if other != block:
            message = f"this is {_OF[other]} socket; write another path"
            yield document.at(block, "socket").problem(message)
        size = len(os.fsencode(document.folder.absolute() / written))
        if size > _SOCKET_PATH:
            message = f"the path has {size} bytes, and a Unix socket's {_SOCKET_PATH} at most"
            yield document.at(block, "socket").problem(message)
    for key in ("host", "port") if server.get("socket") else ():
        if key in server:
            message = "leave this out: server.socket is listened on instead"
            yield document.key_at("server", key).problem(message)


_OF = {"server": "the server's", "admin": "the admin listener's", "api": "the api's"}


def _static_paths(document: Document) -> Iterator[Problem]:
    """Find paths of pages that are given twice, or that belong to Socket.IO."""
    server = _mapping(document.data.get("server"))
    sockets = url_path(str(server.get("path", ServerConfig().path)))
    first: dict[str, str] = {}
    for written in _mapping(server.get("static")):
        path = url_path(written)
        other = first.setdefault(path, written)
        if other != written:
            place = document.key_at("server", "static", other).place
            message = f"this is the path {other!r} at {place} again"
            yield document.key_at("server", "static", written).problem(message)
        if path == sockets or (sockets != "/" and path.startswith(sockets)):
            message = f"{sockets} is Socket.IO's, see server.path; choose another path"
            yield document.key_at("server", "static", written).problem(message)


def _proxies(document: Document) -> Iterator[Problem]:
    server = _mapping(document.data.get("server"))
    listed = server.get("trusted_proxies")
    for index, written in enumerate(listed if isinstance(listed, list) else ()):
        path = "server", "trusted_proxies", index
        if advice := _no_proxy(str(written)):
            message = f"{advice}, got {document.shown(written, *path)}"
            yield document.at(*path).problem(message)
    if server.get("proxy_protocol") is True and not listed:
        message = "anyone could claim any address: list the proxies in server.trusted_proxies"
        yield document.at("server", "proxy_protocol").problem(message)


def _no_proxy(written: str) -> str:
    """Return what to write instead of an item of `trusted_proxies`, or `""`."""
    try:
        if written != "unix":
            ip_network(written)
    except ValueError:
        try:
            network = ip_network(written, strict=False)
        except ValueError:
            return "expected an address, a network such as 10.0.0.0/8, or unix"
        return f"write {network} for the network, or {written.partition('/')[0]} for one address"
    return ""


def _more_than_a_host(host: str) -> str:
    """Return what to write instead of a host with a scheme, brackets or a port, or `""`."""
    found = _ADDRESS.fullmatch(host)
    if found is None:
        return ""
    plain = found["bracketed"] or found["host"]
    port = f" and port: {found['port']}" if found["port"] else ""
    return f"write host: {_quoted(plain)}{port}"


_ADDRESS = re.compile(
    r"(?=.*(?:://|[][]|^[^:]*:[0-9]+$))"  # anything but a plain name or address
    r"(?:[a-z]+://)?(?:\[(?P<bracketed>[^]]+)\]|(?P<host>[^]:/[]+))(?::(?P<port>[0-9]+))?/?"
)


def _quoted(host: str) -> str:
    return f'"{host}"' if ":" in host else host


def _plain_host(host: Data) -> str:
    return "127.0.0.1" if host in (None, "localhost") else str(host)


def warnings(document: Document, config: GatewayConfig) -> Iterator[Problem]:
    """Find what is valid, and most likely not meant; `config` is the document's sound part."""
    yield from _unknown_logs(document, config)
    for name in _mapping(document.data.get("namespaces")):
        namespace = config.namespaces.get(with_slash(name))
        if (
            namespace
            and namespace.user
            and not (namespace.connection_middleware or config.server.handshake_middleware)
        ):
            message = "no socket has a user: no middleware puts anything into its data"
            yield document.at("namespaces", name, "user").warning(message)
        if "*" in name:
            message = f"'*' is no pattern here: clients must ask for {name!r} itself"
            yield document.key_at("namespaces", name).warning(message)
        for event in namespace.routes if namespace else ():
            at = "namespaces", name, "routes", event
            if event.strip() != event:
                message = f"{event!r} begins or ends with a blank; clients must send it so"
                yield document.key_at(*at).warning(message)
            if event == "connection":
                message = "an event that clients send; the gateway's own is 'connect'"
                yield document.key_at(*at).warning(message)


def _unknown_logs(document: Document, config: GatewayConfig) -> Iterator[Problem]:
    """Find levels for namespaces and loggers of the gateway that there are not."""
    for name in config.log.levels:
        kind, known = ("namespace", config.namespaces) if name[0] == "/" else ("logger", LOGGERS)
        if name not in known and name.startswith(("/", "sockgw.")):
            message = f"no {kind} {name!r}{did_you_mean(name, known)}"
            yield document.key_at("log", "levels", name).warning(message)


def _bad_patterns(document: Document) -> Iterator[Problem]:
    origins = _mapping(document.data.get("server")).get("cors_origins")
    for index, origin in enumerate(origins if isinstance(origins, list) else ()):
        if _STARRED.fullmatch(str(origin)):
            path = ("server", "cors_origins", index)
            message = (
                "* stands for the subdomains of a host, as in https://*.example.com, got "
                f"{document.shown(origin, *path)}"
            )
            yield document.at(*path).problem(message)


def _mapping(data: Data) -> dict[str, Data]:
    return data if isinstance(data, dict) else {}
