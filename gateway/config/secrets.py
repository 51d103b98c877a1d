"""Secrets: values of a config that must never appear in output."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.config.messages import HIDDEN, KeyPath, with_slash
from gateway.config.yaml import Plain

__all__ = ["Secrets", "is_secret", "secrets_in", "without_secrets"]

SHORTEST = 6
"""Characters. A shorter text may be part of any sentence, so it is masked only in quotes."""

_NAMES = re.compile(
    r"(?:.*[._-])?(?:tokens?|secrets?|passwords?|passwd|passphrases?|keys?)", re.IGNORECASE
)
_CREDENTIALS = re.compile(r"(?:bearer|basic) +(\S+)", re.IGNORECASE)
"""A field `authorization`; whoever sends it back may leave out its first word."""

_USERINFO = re.compile(r"(?<=//)[^/\s]*(?=@)")
"""What stands before the host in a URL."""

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_TOKEN = ("admin", "token")
_REDIS = ("cluster", "redis")
_LISTEN = ("cluster", "listen", "secret")
_NATS = ("cluster", "nats")
_PASSWORDS = (
    *((*_REDIS, "password"), (*_REDIS, "sentinel", "password")),
    *((*_NATS, "password"), (*_NATS, "token"), _LISTEN),
)
_URL = (*_REDIS, "url")
_API_TOKENS = ("api", "tokens")
_FIELDS = frozenset({"authorization", "cookie"})
_CHAIN = ("server", "handshake_middleware")


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secret values of a config.

    `paths` are where secret values are, `filled` where those from references are. `texts` must
    not be seen anywhere; the longest comes first.
    """

    paths: frozenset[KeyPath] = frozenset()
    filled: frozenset[KeyPath] = frozenset()
    texts: tuple[str, ...] = field(default=(), repr=False)

    def hides(self, path: KeyPath) -> bool:
        """Tell whether the value at a path, or a part of it, is a secret."""
        return any(_named(each)[: len(path)] == path for each in self.paths)

    def mask(self, text: str) -> str:
        """`text` without the secrets in it."""
        for secret in self.texts:
            if len(secret) >= SHORTEST:
                text = text.replace(secret, HIDDEN)
            text = text.replace(repr(secret), HIDDEN)
        return text


def is_secret(path: KeyPath) -> bool:
    """Tell whether a value is a secret by its place, or its name: an option's, a header field's."""
    if path[0] == "backends":
        is_field = path[2:4] == ("headers", "set") and _is_secret_field(str(path[-1]))
        return path[2:3] == ("sign",) or is_field
    if path == _TOKEN or path in _PASSWORDS or (path[:2] == _API_TOKENS and path[-1] == "token"):
        return True
    options = path[path.index("with", 2) + 1 :] if "with" in path[2:] else ()
    keys = [key for key in options if isinstance(key, str)]
    return bool(keys) and _NAMES.fullmatch(_CAMEL.sub("_", keys[-1])) is not None


def without_secrets(path: KeyPath, written: Plain) -> Plain:
    """What is written at a path, or something else in its place if that is a secret."""
    if is_secret(path):
        return HIDDEN
    return _USERINFO.sub(HIDDEN, written) if isinstance(written, str) else written


def _is_shown_to_a_backend(path: KeyPath) -> bool:
    return path[2:3] == ("sign",) or path[2:4] == ("headers", "set")


def _is_secret_field(name: str) -> bool:
    return name.lower() in _FIELDS or _NAMES.fullmatch(name) is not None


def secrets_in(data: object, filled: Mapping[KeyPath, Sequence[str]]) -> Secrets:
    """Return the secrets in a document's data; `filled` has the text of references by path."""
    named = {path: text for path, text in _texts(data, ()) if text and is_secret(path)}
    named |= {path: text for path, text in _texts(data, ()) if path == _URL and "@" in text}
    # Other references fill in addresses and file names, which the operator needs to see.
    pieces = {
        piece
        for path, each in filled.items()
        if path[0] in {"services", "namespaces"}
        or path[:2] in {_CHAIN, _REDIS, _NATS}
        or is_secret(path)
        or (path[0] == "backends" and _is_shown_to_a_backend(path))
        for piece in each
    }
    texts = {form for text in {*named.values(), *pieces} for form in _forms(text)}
    ordered = sorted(texts, key=lambda text: (-len(text), text))
    return Secrets(frozenset({*filled, *named}), frozenset(filled), tuple(ordered))


def _forms(text: str) -> Iterator[str]:
    """Yield what a secret may be shown as."""
    yield text
    yield repr(text)[1:-1]  # text with line breaks mostly is
    if found := _CREDENTIALS.fullmatch(text):
        yield found[1]


def _named(path: KeyPath) -> KeyPath:
    """Return the path with its namespace's full name; the file may leave out the leading `/`."""
    if path[0] != "namespaces":
        return path
    return ("namespaces", with_slash(str(path[1])), *path[2:])


def _texts(data: object, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _texts(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _texts(value, (*path, index))
    elif isinstance(data, str):
        yield path, data
