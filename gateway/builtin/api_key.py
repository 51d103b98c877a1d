"""`builtin.api_key`: accepts clients with a known key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path

from gateway import Context, Middleware, Next, Reject
from gateway.builtin._credential import credential
from gateway.builtin._file import File

__all__ = ["api_key"]

_SHA256 = re.compile(r"[0-9a-f]{64}")


def api_key(
    keys: dict[str, str] | None = None,
    file: Path | None = None,
    source: str = "auth.api_key",
) -> Middleware:
    """Connection middleware that puts the name of the client's key into `socket.data["api_key"]`.

    `keys` maps names to the SHA-256 of each key in hex; `file` has the same, one `name: hash` per
    line, and is read again when it changes. `source` is where the client sends its key. The name
    also becomes the socket's `user`, unless that is already set.
    """
    if (keys is None) == (file is None):
        raise ValueError("write one of the options 'keys' and 'file'")
    known = File(file, _listed).read if file else _fixed(_checked(keys or {}))
    shown = credential(source)

    async def check(ctx: Context, next: Next) -> None:
        key = shown(ctx.socket.handshake)
        name = _name(key, known()) if key else None
        if name is None:
            raise Reject("unauthorized", "a valid API key is needed")
        ctx.socket.data["api_key"] = name
        ctx.socket.data.setdefault("user", name)
        await next()

    return check


def _name(key: str, known: Mapping[str, str]) -> str | None:
    shown = sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    # Compare with all: the time it takes must not reveal which one matched.
    names = [name for name, stored in known.items() if compare_digest(shown, stored)]
    return names[0] if names else None


def _fixed(keys: Mapping[str, str]) -> Callable[[], Mapping[str, str]]:
    return lambda: keys


def _listed(text: str) -> Mapping[str, str]:
    keys: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, stored = (part.strip() for part in line.rpartition(":"))
        if not colon:
            raise ValueError(f"line {number} is not 'name: hash'")
        if name in keys:
            raise ValueError(f"line {number}: there is a key {name!r} already")
        keys[name] = stored
    return _checked(keys)


def _checked(keys: Mapping[str, str]) -> Mapping[str, str]:
    if not keys:
        raise ValueError("there are no keys: nobody could connect")
    for name, stored in keys.items():
        if not _SHA256.fullmatch(stored):
            raise ValueError(f"key {name!r} is not the SHA-256 of a key in lower-case hex")
    return keys
