"""The keys that verify tokens: one key, or a key set (JWKS), from an option, a file or a URL.

Like `_tokens`, it is imported only where `builtin.jwt` is used, because PyJWT is an extra.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import jwt as pyjwt
from cryptography.exceptions import UnsupportedAlgorithm

from gateway import Reject
from gateway.builtin._fetched import Fetched
from gateway.builtin._file import File

__all__ = ["FAULTS", "Find", "key_in_file", "keys_at", "keys_in_file", "one_key"]

Find: TypeAlias = Callable[[str | None, str], Awaitable[Any]]
"""Finds the key for a token by the `kid` and `alg` of its header; `None` if there is none."""

FAULTS = (pyjwt.PyJWTError, UnsupportedAlgorithm, TypeError, ValueError)
"""The exceptions that PyJWT raises for an invalid key or token."""


def one_key(text: str, algorithms: Sequence[str]) -> Find:
    """Use a key from an option. Raises `ValueError` if it does not fit each algorithm."""
    try:
        prepared = _for_each(text, algorithms)
    except ValueError as error:
        raise ValueError(f"option 'key': {error}") from None

    async def find(kid: str | None, algorithm: str) -> Any:
        return prepared[algorithm]

    return find


def key_in_file(path: Path, algorithms: Sequence[str]) -> Find:
    """Use a key from a file. Raises `ValueError` if it does not fit each algorithm."""
    file = File(path, partial(_for_each, algorithms=algorithms))

    async def find(kid: str | None, algorithm: str) -> Any:
        return file.read()[algorithm]

    return find


def keys_in_file(path: Path) -> Find:
    """Use a key set from a file. Raises `ValueError` if the file has none."""
    file = File(path, _key_set)

    async def find(kid: str | None, algorithm: str) -> Any:
        return file.read().find(kid, algorithm)

    return find


def keys_at(url: str, max_age: float, pause: float) -> Find:
    """Use a key set at a URL. Until a fetch succeeds, tokens are refused as `unavailable`."""
    page = Fetched(url, _key_set, max_age, pause)

    async def find(kid: str | None, algorithm: str) -> Any:
        keys = await page.get()
        key = keys and keys.find(kid, algorithm)
        if key is None:
            keys = await page.get(newer=True)
            key = keys and keys.find(kid, algorithm)
        if keys is None:
            raise Reject("unavailable", "tokens cannot be checked now, try again later")
        return key

    return find


def _for_each(text: str, algorithms: Sequence[str]) -> Mapping[str, Any]:
    """Prepare the key for each of the algorithms."""
    return {name: _prepared(text.strip(), name) for name in algorithms}


def _prepared(text: str, name: str) -> Any:
    algorithm = pyjwt.get_algorithm_by_name(name)
    is_secret = name.startswith("HS")
    try:
        key: Any = algorithm.prepare_key(text)
    except FAULTS:
        kind = "secret" if is_secret else "public key in PEM form"
        raise ValueError(f"it is not a {kind} for {name}") from None
    if hasattr(key, "private_bytes"):
        raise ValueError("it is a private key; only its public half belongs here")
    if is_secret and len(key) < (least := int(name[2:]) // 8):  # RFC 7518, section 3.2
        raise ValueError(f"{name} needs a secret of {least} bytes or more, this has {len(key)}")
    if algorithm.check_key_length(key):
        raise ValueError(f"{name} needs a key of 2048 bits or more, this has {key.key_size}")
    return key


@dataclass(frozen=True, slots=True)
class _KeySet:
    """A JSON Web Key Set (RFC 7517): id, algorithm and key of each member."""

    members: Sequence[tuple[str | None, str | None, Any]]

    def find(self, kid: str | None, algorithm: str) -> Any:
        """Find the key with that id; without an id, the only matching one; else `None`."""
        found = [
            key
            for own, only, key in self.members
            if kid in (own, None) and only in (algorithm, None)
        ]
        return found[0] if len(found) == 1 else None


def _key_set(text: str) -> _KeySet:
    """Parse a key set. Raises `ValueError` if no key in it can verify tokens."""
    try:
        listed = json.loads(text)["keys"]
        members = [_member(each) for each in listed if each.get("use", "sig") == "sig"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError('it is not a key set: {"keys": [...]}') from None
    usable = [each for each in members if each is not None]
    if not usable:
        raise ValueError("it has no public key that verifies tokens")
    return _KeySet(usable)


def _member(data: dict[str, Any]) -> tuple[str | None, str | None, Any] | None:
    """Parse a key; `None` for secrets, and for unknown kinds, as RFC 7517 asks (section 5)."""
    try:
        key = pyjwt.PyJWK(data).key
    except FAULTS:
        return None
    return None if isinstance(key, bytes) else (data.get("kid"), data.get("alg"), key)
