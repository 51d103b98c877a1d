"""Checks of a gateway.yaml that the schema cannot make."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address

from gateway.config.include import Data, Document
from gateway.config.messages import with_slash
from gateway.errors import Problem

__all__ = ["is_loopback", "problems"]

_UNSENDABLE = {
    "connect_error": "connection_middleware refuses connections",
    "newListener": "choose another name",
    "removeListener": "choose another name",
}

_STARRED = re.compile(r"[a-z][a-z0-9+.-]*://(?!\*\.[^*.:][^*]*$)[^*/]*\*[^/:]*(:[0-9]{1,5})?")
"""An origin with a `*` that does not stand for the subdomains of a host."""

_GATEWAY_EVENTS = ("connect", "disconnect", "disconnecting", "error")


def problems(document: Document) -> Iterator[Problem]:
    """Find open admin listeners, namespaces given twice and routes that no packet can take."""
    yield from _open_admin(document)
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
            if event in _GATEWAY_EVENTS and "schema" in _mapping(route):
                message = f"the arguments of {event!r} are the gateway's own; leave this out"
                at = document.key_at("namespaces", name, "routes", event, "schema")
                yield at.problem(message)
            if event in _UNSENDABLE:
                message = f"a client can never send {event!r}; {_UNSENDABLE[event]}"
                yield document.key_at("namespaces", name, "routes", event).problem(message)


def _open_admin(document: Document) -> Iterator[Problem]:
    admin = _mapping(document.data.get("admin"))
    host = admin.get("host", "localhost")
    if "token" not in admin and "socket" not in admin and not is_loopback(str(host)):
        text = document.shown(host, "admin", "host").strip("'")
        message = f"{text} can be reached from other machines: add a token"
        yield document.at("admin", "host").problem(message)


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


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a listener on `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _mapping(data: Data) -> dict[str, Data]:
    return data if isinstance(data, dict) else {}
