"""Reads a client's secret from `auth`, a header or the query."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from gateway import Handshake

__all__ = ["Credential", "credential"]

Credential: TypeAlias = Callable[[Handshake], str | None]
"""Reads the secret from a handshake; `None` if there is none, or if it is not text."""

_BEARER = "bearer "


def credential(source: str) -> Credential:
    """Return a reader for `source`: `auth.NAME`, `header.NAME` or `query.NAME`.

    A header is read without a leading `Bearer`. Raises `ValueError` for any other source.
    """
    part, _, name = source.partition(".")
    read = {"auth": _auth, "header": _header, "query": _query}.get(part)
    if read is None or not name:
        message = f"option 'source' must be auth.NAME, header.NAME or query.NAME, got {source!r}"
        raise ValueError(message)
    return read(name)


def _auth(name: str) -> Credential:
    def read(handshake: Handshake) -> str | None:
        value = handshake.auth.get(name)
        return value if isinstance(value, str) else None

    return read


def _header(name: str) -> Credential:
    name = name.lower()

    def read(handshake: Handshake) -> str | None:
        value = handshake.headers.get(name)
        if value is not None and value[: len(_BEARER)].lower() == _BEARER:
            return value[len(_BEARER) :].strip()
        return value

    return read


def _query(name: str) -> Credential:
    return lambda handshake: handshake.query.get(name)
