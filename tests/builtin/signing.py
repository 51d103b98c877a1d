"""Those who sign tokens, for tests: a key of each kind, its public half, and its JWK."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import jwt as pyjwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

__all__ = ["SECRET", "Signer", "claims", "key_set", "signer", "token"]

SECRET = "a secret of sixty-four bytes is long enough for any of the HS...."

_CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


@dataclass(frozen=True, slots=True)
class Signer:
    algorithm: str
    private: Any

    @property
    def public_pem(self) -> str:
        public = self.private.public_key()
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def private_pem(self) -> str:
        form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return self.private.private_bytes(*form).decode()

    def jwk(self, **members: str) -> dict[str, str]:
        algorithm: Any = pyjwt.get_algorithm_by_name(self.algorithm)
        return {**json.loads(algorithm.to_jwk(self.private.public_key())), **members}

    def token(self, kid: str | None = None, **changes: Any) -> str:
        headers = None if kid is None else {"kid": kid}
        return pyjwt.encode(claims(**changes), self.private, self.algorithm, headers)


@cache
def signer(algorithm: str, name: str = "", bits: int = 2048) -> Signer:
    """The one signer of this algorithm and name."""
    if algorithm in _CURVES:
        return Signer(algorithm, ec.generate_private_key(_CURVES[algorithm]))
    if algorithm == "EdDSA":
        return Signer(algorithm, ed25519.Ed25519PrivateKey.generate())
    return Signer(algorithm, rsa.generate_private_key(public_exponent=65537, key_size=bits))


def token(algorithm: str = "HS256", key: str = SECRET, **changes: Any) -> str:
    """A token signed with a secret."""
    return pyjwt.encode(claims(**changes), key, algorithm)


def claims(**changes: Any) -> dict[str, Any]:
    """Those of a good token, changed; what is changed to `None` is left out."""
    usual = {"sub": "ada", "exp": int(time.time()) + 3600}
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def key_set(*keys: dict[str, str]) -> str:
    return json.dumps({"keys": keys})
