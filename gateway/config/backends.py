"""The `backends:` block: checks that the schema cannot make, and its config."""

from __future__ import annotations

import binascii
import os
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias
from urllib.parse import SplitResult, urlsplit

from gateway.config.include import Data, Document
from gateway.config.messages import with_slash
from gateway.config.model import BackendConfig, SessionsConfig, SpoolConfig
from gateway.errors import Problem, did_you_mean

__all__ = ["Kinds", "backends_of", "problems"]

Kinds: TypeAlias = Mapping[str, Callable[[Any], object]]
"""How the written values of simple keys become those of the config."""

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
        yield from _namespace_problems(document, name, _mapping(_mapping(backend).get("sessions")))
    yield from _folder_problems(document)


def _namespace_problems(
    document: Document, name: str, sessions: Mapping[str, Data]
) -> Iterator[Problem]:
    known = [with_slash(each) for each in _mapping(document.data.get("namespaces"))]
    namespaces = sessions.get("namespaces")
    for index, each in enumerate(namespaces if isinstance(namespaces, list) else ()):
        if isinstance(each, str) and each and with_slash(each) not in known:
            message = f"no namespace {each!r}{did_you_mean(with_slash(each), known)}"
            yield document.at("backends", name, "sessions", "namespaces", index).problem(message)


def _folder_problems(document: Document) -> Iterator[Problem]:
    """Find spools of two backends in one folder: messages would reach the wrong one."""
    first: dict[str, str] = {}
    for name, backend in _mapping(document.data.get("backends")).items():
        spool = _mapping(_mapping(_mapping(backend).get("sessions")).get("spool"))
        folder = spool.get("folder")
        if not isinstance(folder, str):
            continue
        other = first.setdefault(os.path.abspath(document.folder / folder), name)
        if other != name:
            message = f"this is the folder of the backend {other!r} already: each has its own"
            yield document.at("backends", name, "sessions", "spool", "folder").problem(message)


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
    document: Document, folder: Path, kinds: Mapping[str, Kinds]
) -> Mapping[str, BackendConfig]:
    """Return the config of each backend of a valid document.

    `kinds` convert the simple keys of the blocks `backend`, `sessions` and `spool`.
    """
    data: Any = document.data
    return MappingProxyType(
        {
            name: replace(
                _backend(folder, written, kinds["backend"]),
                sessions=_sessions(document, folder, name, written, kinds),
            )
            for name, written in (data.get("backends") or {}).items()
        }
    )


def _sessions(
    document: Document,
    folder: Path,
    name: str,
    written: Mapping[str, Any],
    kinds: Mapping[str, Kinds],
) -> SessionsConfig | None:
    if "sessions" not in written:
        return None
    block = written["sessions"] or {}
    spool = block.get("spool") or {}
    return SessionsConfig(
        namespaces=tuple(map(with_slash, block.get("namespaces", ()))),
        spool=SpoolConfig(
            folder=folder / spool["folder"] if spool.get("folder") else None,
            at=document.around("backends", name, "sessions", "spool", "folder"),
            **_given(spool, kinds["spool"]),
        ),
        **_given(block, kinds["sessions"]),
    )


def _given(written: Mapping[str, Any], kinds: Kinds) -> dict[str, Any]:
    return {key: kind(written[key]) for key, kind in kinds.items() if key in written}


def _backend(folder: Path, written: Mapping[str, Any], kinds: Kinds) -> BackendConfig:
    url, socket = written["url"], None
    if url.startswith("unix:"):
        path, base = _socket_of(url)
        url, socket = f"http://localhost{base}", folder / path
    sign, headers = written.get("sign", []), written.get("headers") or {}
    return BackendConfig(
        url=url.rstrip("/"),
        socket=socket,
        sign=tuple(map(_key, [sign] if isinstance(sign, str) else sign)),
        forward=tuple(name.lower() for name in headers.get("forward", ())),
        set=tuple((name.lower(), value) for name, value in (headers.get("set") or {}).items()),
        **_given(written, kinds),
    )


def _socket_of(url: str) -> tuple[str, str]:
    """The path of the socket in `unix:/run/app.sock:/base`, and the path behind it."""
    path, _, base = url.removeprefix("unix:").partition(":")
    return path, base
