"""The `backends:` block: checks that the schema cannot make, and its config."""

from __future__ import annotations

import binascii
import os
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import SplitResult, urlsplit

from gateway.config.include import Data, Document
from gateway.config.model import BackendConfig
from gateway.errors import Problem

__all__ = ["backends_of", "problems"]

SIGNING = "whsec_"
"""The beginning of a secret of Standard Webhooks."""

SHORTEST, LONGEST = 24, 64
"""Bytes of such a secret."""

_SOCKET_PATH = 107
"""Bytes: `sun_path` of Linux, without the zero at its end (unix(7))."""

OURS = frozenset(
    {
        *("accept", "accept-encoding", "connection", "content-encoding", "content-length"),
        *("content-type", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)
"""Header fields that the gateway writes itself, or that are about one connection only."""

_PREFIXES = ("ce-", "sec-websocket-", "webhook-")


def problems(document: Document) -> Iterator[Problem]:
    """Find URLs, secrets and header fields of backends that cannot be used."""
    for name, backend in _mapping(document.data.get("backends")).items():
        yield from _url_problems(document, name, _mapping(backend).get("url"))
        yield from _secret_problems(document, name, _mapping(backend).get("sign"))
        headers = _mapping(_mapping(backend).get("headers"))
        forward = headers.get("forward")
        for index, field in enumerate(forward if isinstance(forward, list) else ()):
            if _is_ours(str(field)) or str(field).lower() == "host":
                message = f"{field!r} is of one connection, or the gateway's own: leave it out"
                yield document.at("backends", name, "headers", "forward", index).problem(message)
        for field in _mapping(headers.get("set")):
            if _is_ours(field):
                message = f"{field!r} is written by the gateway itself: leave it out"
                yield document.key_at("backends", name, "headers", "set", field).problem(message)


def _url_problems(document: Document, name: str, url: Data) -> Iterator[Problem]:
    if not isinstance(url, str):
        return
    message = ""
    if url.startswith("unix:"):
        size = len(os.fsencode(document.folder.absolute() / _socket_of(url)[0]))
        if size > _SOCKET_PATH:
            message = f"the path has {size} bytes, and a Unix socket's {_SOCKET_PATH} at most"
    elif url.startswith(("http://", "https://")):
        parts = _parts(url)
        if parts is None:
            text = document.shown(url, "backends", name, "url")
            message = f"expected http://HOST:PORT or https://HOST, got {text}"
        elif parts.username is not None or parts.password is not None:
            message = "no user or password here: write headers: {set: {authorization: ...}}"
    if message:
        yield document.at("backends", name, "url").problem(message)


def _parts(url: str) -> SplitResult | None:
    """Return the parts of a URL, `None` if it names no host or no port that there can be."""
    try:
        parts = urlsplit(url)
        is_good = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if is_good else None


def _secret_problems(document: Document, name: str, sign: Data) -> Iterator[Problem]:
    for index, secret in enumerate(sign if isinstance(sign, list) else [sign]):
        path = ("sign", index) if isinstance(sign, list) else ("sign",)
        if isinstance(secret, str) and secret and (fault := _secret_fault(secret)):
            yield document.at("backends", name, *path).problem(fault)


def _secret_fault(secret: str) -> str:
    """Return why a text is no secret of Standard Webhooks, without showing any of it, or `""`."""
    make = "make one with: echo whsec_$(openssl rand -base64 32)"
    if not secret.startswith(SIGNING):
        return f"the secret does not begin with whsec_; {make}"
    try:
        size = len(_key(secret))
    except (binascii.Error, ValueError):
        return f"the secret is not base64 behind its whsec_; {make}"
    if not SHORTEST <= size <= LONGEST:
        return f"the secret has {size} bytes, and needs {SHORTEST} to {LONGEST}; {make}"
    return ""


def _key(secret: str) -> bytes:
    return b64decode(secret.removeprefix(SIGNING), validate=True)


def _is_ours(field: str) -> bool:
    return field.lower() in OURS or field.lower().startswith(_PREFIXES)


def _mapping(data: Data) -> dict[str, Data]:
    return data if isinstance(data, dict) else {}


def backends_of(
    document: Document, folder: Path, kinds: Mapping[str, Callable[[Any], object]]
) -> Mapping[str, BackendConfig]:
    """Return the config of each backend of a valid document; `kinds` convert the simple keys."""
    data: Any = document.data
    return MappingProxyType(
        {
            name: _backend(folder, written, kinds)
            for name, written in (data.get("backends") or {}).items()
        }
    )


def _backend(
    folder: Path, written: Mapping[str, Any], kinds: Mapping[str, Callable[[Any], object]]
) -> BackendConfig:
    url, socket = written["url"], None
    if url.startswith("unix:"):
        path, base = _socket_of(url)
        url, socket = f"http://localhost{base}", folder / path
    sign, headers = written.get("sign", []), written.get("headers") or {}
    simple: dict[str, Any] = {
        key: kind(written[key]) for key, kind in kinds.items() if key in written
    }
    return BackendConfig(
        url=url.rstrip("/"),
        socket=socket,
        sign=tuple(map(_key, [sign] if isinstance(sign, str) else sign)),
        forward=tuple(name.lower() for name in headers.get("forward", ())),
        set=tuple((name.lower(), value) for name, value in (headers.get("set") or {}).items()),
        **simple,
    )


def _socket_of(url: str) -> tuple[str, str]:
    """The path of the socket in `unix:/run/app.sock:/base`, and the path behind it."""
    path, _, base = url.removeprefix("unix:").partition(":")
    return path, base
