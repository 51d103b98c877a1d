"""`builtin.jwt`: accepts clients with a signed token."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from gateway import Middleware
from gateway.builtin._credential import credential

if TYPE_CHECKING:
    from gateway.builtin._keys import Find

__all__ = ["jwt"]

Algorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512", "EdDSA",
]  # fmt: skip
OneOrMore = str | list[str]
OnExpiry = Literal["disconnect", "ignore"]


def jwt(
    algorithms: list[Algorithm],
    key: str | None = None,
    key_file: Path | None = None,
    jwks_file: Path | None = None,
    jwks_url: str | None = None,
    issuer: OneOrMore | None = None,
    audience: OneOrMore | None = None,
    leeway: float = 0.0,
    require: tuple[str, ...] = ("exp",),
    on_expiry: OnExpiry = "disconnect",
    source: str = "auth.token",
    max_age: float = 600.0,
    pause: float = 30.0,
) -> Middleware:
    """Connection middleware that puts a token's claims into `socket.data["claims"]`.

    Tokens must be signed with one of the `algorithms`, and name an `issuer` and an `audience` that
    are listed, if any are; `leeway` is how many seconds clocks may differ. `sub` goes into
    `socket.data["user"]`. Exactly one of `key`, `key_file` (a secret for HS, else a public key in
    PEM form), `jwks_file` and `jwks_url` is needed. Files are read again when they change. A URL is
    fetched again after `max_age` seconds, or when a token names an unknown key, but never twice
    within `pause` seconds. `require` lists required claims, `source` is where the client sends its
    token. When the token of a connected client expires, `on_expiry` says whether to `disconnect`
    the socket or to `ignore` it; with `builtin.jwt_refresh` a client can send a fresh one before.

    Raises `ModuleNotFoundError` if PyJWT is not installed.
    """
    try:
        from gateway.builtin._tokens import Guard, Tokens  # noqa: PLC0415 - PyJWT is an extra
    except ModuleNotFoundError:
        message = "PyJWT and cryptography are needed: pip install 'sockgw[jwt]'"
        raise ModuleNotFoundError(message) from None
    find = _find(algorithms, key, key_file, jwks_file, jwks_url, max_age, pause)
    tokens = Tokens(algorithms, _listed(issuer), _listed(audience), leeway, require, find)
    return Guard(tokens, credential(source), on_expiry == "disconnect").enter


def _find(
    algorithms: list[Algorithm],
    key: str | None,
    key_file: Path | None,
    jwks_file: Path | None,
    jwks_url: str | None,
    max_age: float,
    pause: float,
) -> Find:
    from gateway.builtin._keys import key_in_file, keys_at, keys_in_file, one_key  # noqa: PLC0415

    if [key, key_file, jwks_file, jwks_url].count(None) != 3:
        raise ValueError("write one of the options 'key', 'key_file', 'jwks_file' and 'jwks_url'")
    secret = [name for name in algorithms if name.startswith("HS")]
    if not algorithms or 0 < len(secret) < len(algorithms):
        raise ValueError("option 'algorithms' must name some of HS, or some of the others")
    if secret and (jwks_file or jwks_url):
        raise ValueError(f"{secret[0]} needs a secret: write 'key' or 'key_file'")
    if key is not None:
        return one_key(key, algorithms)
    if key_file is not None:
        return key_in_file(key_file, algorithms)
    if jwks_file is not None:
        return keys_in_file(jwks_file)
    assert jwks_url is not None
    _check_url(jwks_url)
    for option, seconds in (("max_age", max_age), ("pause", pause)):
        if seconds <= 0:
            raise ValueError(f"option {option!r} must be more than 0")
    return keys_at(jwks_url, max_age, pause)


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and _is_local(host))):
        raise ValueError(
            "option 'jwks_url' must begin with https://, or anyone could swap the keys"
        )


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listed(value: OneOrMore | None) -> list[str] | None:
    return [value] if isinstance(value, str) else value
