"""Tokens that somebody forged, one a row: each is refused, with no fetch and no traceback."""

from __future__ import annotations

import json
import logging
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt as pyjwt
import pytest
from aiohttp import web

from gateway.testing import Refused
from tests.app_site import serve_app
from tests.builtin.conftest import Guarded, use
from tests.builtin.signing import SECRET, claims, key_set, signer

OURS, EVIL = signer("ES256", "ours"), signer("ES256", "evil")
RSA = signer("RS256", "ours")
UNAUTHORIZED = ("a valid token is needed", {"code": "unauthorized"})
SOON = int(time.time()) + 3600


def forged(
    header: object, payload: object = None, key: Any = SECRET, algorithm: str = "HS256"
) -> str:
    """A token with this header and payload, which are JSON or text, signed whatever they say."""
    parts = [_part(header), _part(claims() if payload is None else payload)]
    signed = b".".join(parts)
    signer: Any = pyjwt.get_algorithm_by_name(algorithm)
    prepared = signer.prepare_key(key) if algorithm != "HS256" else key.encode()
    return b".".join([signed, _base64(signer.sign(signed, prepared))]).decode()


def _part(value: object) -> bytes:
    return _base64(value.encode() if isinstance(value, str) else json.dumps(value).encode())


def _base64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def hs256(**members: object) -> str:
    """A token signed with our secret, with more in its header."""
    return forged({"alg": "HS256", "typ": "JWT", **members})


def claimed(**changes: object) -> str:
    """A token signed with our secret, with other claims."""
    return forged({"alg": "HS256"}, {**claims(), **changes})


def es256(key: Any = EVIL, **members: object) -> str:
    return forged({"alg": "ES256", **members}, key=key.private, algorithm="ES256")


GOOD = hs256()
HEAD, PAYLOAD, SIGNATURE = GOOD.split(".")

ALGORITHMS = ["none", "None", "NONE", "nOnE", "", "hs256", "HS256 ", "HS384", "RS256", "ES256"]
ODD_ALGORITHMS: list[object] = [None, 0, True, ["HS256"], {"HS256": 1}]
BY_SECRET = {
    **{f"alg {alg!r}": hs256(alg=alg) for alg in [*ALGORITHMS, *ODD_ALGORITHMS]},
    **{
        f"alg {alg!r} and no signature": forged({"alg": alg}).rpartition(".")[0] + "."
        for alg in ("none", "None", "HS256")
    },
    "no alg": forged({"typ": "JWT"}),
    "two parts": f"{HEAD}.{PAYLOAD}",
    "four parts": f"{GOOD}.{SIGNATURE}",
    "no payload": f"{HEAD}..{SIGNATURE}",
    "no header": f".{PAYLOAD}.{SIGNATURE}",
    "a signature that is cut": GOOD[:-4],
    "the empty secret": forged({"alg": "HS256"}, key=""),
    "a secret of zeros": forged({"alg": "HS256"}, key="\0" * 64),
    "a header that is a list": forged([{"alg": "HS256"}]),
    "a header that is text": forged('"HS256"'),
    "a header that is null": forged("null"),
    "a header that is no JSON": forged("{alg: HS256}"),
    "a header that is not UTF-8": f"{_base64(bytes([255, 254])).decode()}.{PAYLOAD}.{SIGNATURE}",
    "a deep header": forged(
        '{"alg": "HS256", "x": ' + "[" * 3_000 + "]" * 3_000 + "}",
        key="somebody's secret of 32 bytes",
    ),
    "a deep payload": forged({"alg": "HS256"}, "[" * 3_000 + "]" * 3_000),
    "a payload that is a list": forged({"alg": "HS256"}, [claims()]),
    "a payload that is text": forged({"alg": "HS256"}, '"ada"'),
    "a payload that is no JSON": forged({"alg": "HS256"}, "{sub: ada}"),
    "a critical header nobody knows": hs256(crit=["bank"], bank=1),
    "a critical exp": hs256(crit=["exp"], exp=SOON),
    "a critical nothing": hs256(crit=[]),
    "a critical text": hs256(crit="exp"),
    "a payload that is not in base64": hs256(crit=["b64"], b64=False),
    **{
        f"exp {exp!r}": claimed(exp=exp)
        for exp in (None, "", "soon", [], {}, [SOON], {"n": SOON}, -1, 0, False)
    },
    "exp that is infinite": forged({"alg": "HS256"}, '{"sub": "ada", "exp": 1e999}'),
    "exp that is no number": forged({"alg": "HS256"}, '{"sub": "ada", "exp": NaN}'),
    "no exp": forged({"alg": "HS256"}, {"sub": "ada"}),
    "nbf in a year": claimed(nbf=SOON + 365 * 86_400),
    "nbf that is text": claimed(nbf="later"),
    "iat in a year": claimed(iat=SOON + 365 * 86_400),
    "sub that is a number": claimed(sub=1),
    "aud for somebody else": claimed(aud="mail"),
}
KIDS: list[object] = [
    *(
        "ours",
        "evil",
        "",
        "../../../../dev/null",
        "' OR '1'='1",
        "ours\0",
        "x" * 10_000,
        "http://x/",
    ),
    *(None, 0, 1.5, True, ["ours"], {"kid": "ours"}),
]
BY_KEY_SET = {
    **{f"kid {str(kid)[:20]!r} of {type(kid).__name__}": es256(kid=kid) for kid in KIDS},
    "no kid": es256(),
    "its own key": es256(kid="evil", jwk=EVIL.jwk(kid="evil")),
    "its own key under our kid": es256(kid="ours", jwk=EVIL.jwk(kid="ours")),
    "a secret, which is our key": forged({"alg": "HS256", "kid": "ours"}, key=OURS.public_pem),
    "our key under another algorithm": es256(OURS, kid="ours", alg="ES384"),
}
BY_URL = {
    name: {field: f"{{url}}/{field}", "kid": kid}
    for name, field, kid in [
        ("jku", "jku", "evil"),
        ("jku under our kid", "jku", "ours"),
        ("x5u", "x5u", "evil"),
        ("x5u under our kid", "x5u", "ours"),
    ]
}
CONFUSED = {
    f"{alg} with the public key {how}": forged({"alg": alg}, key=key)
    for alg in ("HS256", "RS256", "none")
    for how, key in [("as it is", RSA.public_pem), ("without its end", RSA.public_pem.strip())]
}


async def refusals(guarded: Guarded, options: dict[str, Any], rows: dict[str, str]) -> list[str]:
    """The rows that are let in, or not refused as any other token is."""
    wrong = []
    async with guarded(connection_middleware=[use("jwt", options)]) as gateway:
        for name, token in rows.items():
            try:
                await gateway.connect(auth={"token": token})
            except Refused as refused:
                if (refused.message, refused.data) == UNAUTHORIZED:
                    continue
                if "exp " in name and refused.message == "the token has expired":
                    continue
            wrong.append(name)
    return wrong


def faults(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno > logging.INFO]


async def test_no_row_is_let_in_by_a_secret(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"algorithms": ["HS256"], "key": SECRET}
    good = {"good": GOOD, "more": hs256(kid="any", cty="JWT"), "late": claimed(exp=SOON + 0.5)}
    assert await refusals(guarded, options, good) == [*good]
    assert await refusals(guarded, options, BY_SECRET) == []
    assert faults(caplog) == []


async def test_no_row_is_let_in_by_a_key_set(
    guarded: Guarded, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys.json"
    file.write_text(key_set(OURS.jwk(kid="ours"), signer("ES256", "other").jwk(kid="other")))
    options = {"algorithms": ["ES256"], "jwks_file": str(file)}
    assert await refusals(guarded, options, {"good": es256(OURS, kid="ours")}) == ["good"]
    assert await refusals(guarded, options, BY_KEY_SET) == []
    assert faults(caplog) == []


async def test_no_public_key_is_taken_for_a_secret(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"algorithms": ["RS256"], "key": RSA.public_pem}
    assert await refusals(guarded, options, {"good": RSA.token()}) == ["good"]
    assert await refusals(guarded, options, CONFUSED) == []
    assert faults(caplog) == []


@pytest.fixture
async def issuer() -> AsyncIterator[tuple[str, list[str]]]:
    """An issuer's address, and the paths that were asked for there."""
    asked: list[str] = []

    async def serve(request: web.Request) -> web.Response:
        asked.append(request.path)
        key = OURS.jwk(kid="ours") if request.path == "/keys" else EVIL.jwk(kid="evil")
        return web.Response(text=key_set(key))

    app = web.Application()
    app.router.add_get("/{path}", serve)
    async with serve_app(app) as url:
        yield url, asked


async def test_no_token_says_where_its_key_is(
    guarded: Guarded, issuer: tuple[str, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    url, asked = issuer
    options = {"algorithms": ["ES256"], "jwks_url": f"{url}/keys"}
    rows = {
        name: es256(**{key: text.format(url=url) for key, text in header.items()})
        for name, header in BY_URL.items()
    }
    assert await refusals(guarded, options, rows) == []
    assert asked == ["/keys"]
    assert faults(caplog) == []


async def test_unknown_kids_are_no_reason_to_fetch_again_and_again(
    guarded: Guarded, issuer: tuple[str, list[str]]
) -> None:
    url, asked = issuer
    options = {"algorithms": ["ES256"], "jwks_url": f"{url}/keys"}
    rows = {f"kid {number}": es256(kid=f"made up {number}") for number in range(300)}
    assert await refusals(guarded, options, rows) == []
    assert asked == ["/keys"]
