from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Any

import jwt as pyjwt
import pytest

import gateway.builtin
from gateway.testing import Refused
from tests.builtin.conftest import Clock, Fault, Guarded, use
from tests.builtin.signing import SECRET, claims, key_set, signer, token

NOW = int(time.time())
HS256 = {"algorithms": ["HS256"], "key": SECRET}


async def verdict(guarded: Guarded, options: dict[str, Any], shown: object) -> tuple[str, Any]:
    """How a client that shows this as its token is refused."""
    async with guarded(connection_middleware=[use("jwt", options)]) as gateway:
        with pytest.raises(Refused) as refused:
            await gateway.connect(auth={"token": shown})
    return refused.value.message, refused.value.data


REFUSED = (
    "refused connection to '/' of 127.0.0.1: middleware 'builtin.jwt': "
    "unauthorized: a valid token is needed"
)

UNAUTHORIZED = ("a valid token is needed", {"code": "unauthorized"})


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("auth.token", lambda token: {"auth": {"token": token}}),
        ("header.Authorization", lambda token: {"headers": {"authorization": f"Bearer {token}"}}),
        ("query.access_token", lambda token: {"query": f"access_token={token}"}),
    ],
)
async def test_the_claims_of_a_good_token_are_kept(
    guarded: Guarded, seen: dict[str, Any], source: str, shown: Any
) -> None:
    chain = [use("jwt", {**HS256, "source": source})]
    async with guarded(connection_middleware=chain, **seen) as gateway:
        client = await gateway.connect(**shown(token(exp=NOW + 3600, role="admin")))
        kept = {"sub": "ada", "exp": NOW + 3600, "role": "admin"}
        assert await client.call("data") == [{"claims": kept, "user": "ada"}]


async def test_a_token_without_a_subject_names_no_user(
    guarded: Guarded, seen: dict[str, Any]
) -> None:
    async with guarded(connection_middleware=[use("jwt", HS256)], **seen) as gateway:
        client = await gateway.connect(auth={"token": token(sub=None, exp=NOW + 3600)})
        assert await client.call("data") == [{"claims": {"exp": NOW + 3600}}]


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_a_secret_verifies(guarded: Guarded, algorithm: str) -> None:
    options = {"algorithms": [algorithm], "key": SECRET}
    async with guarded(connection_middleware=[use("jwt", options)]) as gateway:
        assert (await gateway.connect(auth={"token": token(algorithm)})).connected


@pytest.mark.parametrize("algorithm", ["RS256", "PS512", "ES256", "ES384", "ES512", "EdDSA"])
async def test_a_public_key_verifies_what_its_private_half_has_signed(
    guarded: Guarded, algorithm: str
) -> None:
    options = {"algorithms": [algorithm], "key": signer(algorithm).public_pem}
    async with guarded(connection_middleware=[use("jwt", options)]) as gateway:
        good = signer(algorithm).token()
        assert (await gateway.connect(auth={"token": good})).connected
        with pytest.raises(Refused):
            await gateway.connect(auth={"token": signer(algorithm, "somebody else").token()})


@pytest.mark.parametrize(
    "shown",
    [
        None,
        "",
        0,
        ["token"],
        "not a token",
        "a.b.c",
        "." * 10_000,
        token()[:-3] + "AAA",
        token(key="another secret, as long as thirty-two bytes"),
        token("HS512"),
        pyjwt.encode(claims(), None, "none"),
    ],
    ids=[
        "none at all",
        "empty",
        "a number",
        "a list",
        "some text",
        "three letters",
        "dots",
        "a bad signature",
        "another secret",
        "another algorithm",
        "unsigned",
    ],
)
async def test_what_is_no_good_token_is_refused_without_a_hint(
    guarded: Guarded, caplog: pytest.LogCaptureFixture, shown: object
) -> None:
    assert await verdict(guarded, HS256, shown) == UNAUTHORIZED
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_a_public_key_is_never_taken_for_a_secret(guarded: Guarded) -> None:
    """The token says HS256, and is signed with what everybody knows: RFC 8725, section 2.1."""
    public = signer("RS256").public_pem
    header, payload = (
        pyjwt.utils.base64url_encode(part)
        for part in (b'{"alg":"HS256","typ":"JWT"}', f'{{"exp":{NOW + 3600}}}'.encode())
    )
    hmac = pyjwt.get_algorithm_by_name("HS256")
    signature = hmac.sign(header + b"." + payload, public.encode())  # type: ignore[arg-type]
    forged = b".".join([header, payload, pyjwt.utils.base64url_encode(signature)])
    options = {"algorithms": ["RS256"], "key": public}
    assert await verdict(guarded, options, forged.decode()) == UNAUTHORIZED


@pytest.mark.parametrize(
    ("options", "changes", "logged"),
    [
        ({}, {"nbf": NOW + 36000}, "ImmatureSignatureError"),
        ({}, {"exp": None}, "MissingRequiredClaimError"),
        ({}, {"exp": "soon"}, "DecodeError"),
        ({"require": ["exp", "jti"]}, {}, "MissingRequiredClaimError"),
        ({"issuer": "https://a.example"}, {}, "MissingRequiredClaimError"),
        ({"issuer": "https://a.example"}, {"iss": "https://b.example"}, "InvalidIssuerError"),
        ({"issuer": ["a", "b"]}, {"iss": "c"}, "InvalidIssuerError"),
        ({"audience": "chat"}, {}, "MissingRequiredClaimError"),
        ({"audience": "chat"}, {"aud": ["mail", "chatter"]}, "InvalidAudienceError"),
        ({}, {"aud": "chat"}, "InvalidAudienceError"),
        ({"leeway": 5}, {"nbf": NOW + 36000}, "ImmatureSignatureError"),
    ],
)
async def test_claims_that_do_not_fit_are_refused_and_the_log_tells_which(
    guarded: Guarded,
    caplog: pytest.LogCaptureFixture,
    options: dict[str, Any],
    changes: dict[str, Any],
    logged: str,
) -> None:
    caplog.set_level(logging.INFO, "sockgw")
    shown = token(**changes)
    assert await verdict(guarded, {**HS256, **options}, shown) == UNAUTHORIZED
    assert caplog.messages == [f"{REFUSED} (token refused: {logged})"]


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({"issuer": "a"}, {"iss": "a"}),
        ({"issuer": ["a", "b"]}, {"iss": "b"}),
        ({"audience": "chat"}, {"aud": "chat"}),
        ({"audience": ["chat", "talk"]}, {"aud": ["mail", "talk"]}),
        ({"leeway": 3600}, {"exp": NOW - 60, "nbf": NOW + 60}),
        ({"require": []}, {"exp": None}),
    ],
)
async def test_claims_that_fit_are_let_in(
    guarded: Guarded, options: dict[str, Any], changes: dict[str, Any]
) -> None:
    async with guarded(connection_middleware=[use("jwt", {**HS256, **options})]) as gateway:
        assert (await gateway.connect(auth={"token": token(**changes)})).connected


async def test_a_client_is_told_that_its_token_has_expired(guarded: Guarded) -> None:
    assert await verdict(guarded, HS256, token(exp=NOW - 60)) == (
        "the token has expired",
        {"code": "unauthorized"},
    )
    forged = token(exp=NOW - 60, key="another secret, as long as thirty-two bytes")
    assert await verdict(guarded, HS256, forged) == UNAUTHORIZED


async def test_a_key_in_a_file_is_read_again_when_it_changes(
    guarded: Guarded, tmp_path: Path
) -> None:
    file = tmp_path / "key.pem"
    file.write_text(signer("ES256").public_pem)
    options = {"algorithms": ["ES256"], "key_file": str(file)}
    async with guarded(connection_middleware=[use("jwt", options)]) as gateway:
        await gateway.connect(auth={"token": signer("ES256").token()})
        file.write_text(signer("ES256", "next").public_pem + "\n")
        await gateway.connect(auth={"token": signer("ES256", "next").token()})
        with pytest.raises(Refused):
            await gateway.connect(auth={"token": signer("ES256").token()})


PRIVATE = "it is a private key; only its public half belongs here"
NO_ES256 = "it is not a public key in PEM form for ES256"
SHORT = "RS256 needs a key of 2048 bits or more, this has 1024"


@pytest.mark.parametrize(
    ("algorithms", "pem", "message"),
    [
        (["ES256"], signer("ES256").private_pem, PRIVATE),
        (["RS256"], signer("RS256").private_pem, PRIVATE),
        (["ES384"], signer("ES256").public_pem, "it is not a public key in PEM form for ES384"),
        (["RS256", "ES256"], signer("RS256").public_pem, NO_ES256),
        (["RS256"], signer("RS256", bits=1024).public_pem, SHORT),
    ],
)
def test_a_key_that_cannot_verify_is_a_problem(
    fault: Fault, tmp_path: Path, algorithms: list[str], pem: str, message: str
) -> None:
    file = tmp_path / "key.pem"
    file.write_text(pem)
    said = "'builtin.jwt' could not be made: ValueError: "
    assert fault("jwt", algorithms=algorithms, key=pem) == f"{said}option 'key': {message}"
    assert fault("jwt", algorithms=algorithms, key_file=str(file)) == f"{said}{file}: {message}"


FIRST, SECOND = signer("ES256", "first"), signer("RS256", "second")


@pytest.mark.parametrize(
    ("keys", "shown", "is_good"),
    [
        ([FIRST.jwk(kid="1"), SECOND.jwk(kid="2")], FIRST.token("1"), True),
        ([FIRST.jwk(kid="1"), SECOND.jwk(kid="2")], SECOND.token("2"), True),
        ([FIRST.jwk(kid="1"), SECOND.jwk(kid="2")], FIRST.token("2"), False),
        ([FIRST.jwk(kid="1"), SECOND.jwk(kid="2")], FIRST.token("3"), False),
        ([FIRST.jwk(kid="1"), SECOND.jwk(kid="2")], FIRST.token(), False),
        ([FIRST.jwk(kid="1")], FIRST.token(), True),
        ([FIRST.jwk()], FIRST.token(), True),
        ([FIRST.jwk(alg="ES256"), SECOND.jwk(alg="RS256")], SECOND.token(), True),
        ([SECOND.jwk(kid="2", alg="PS256")], SECOND.token("2"), False),
        ([SECOND.jwk(kid="2", use="enc"), FIRST.jwk(kid="1")], SECOND.token("2"), False),
        ([{"kty": "new", "kid": "0"}, FIRST.jwk(kid="1")], FIRST.token("1"), True),
    ],
)
async def test_which_key_of_a_set_verifies(
    guarded: Guarded, tmp_path: Path, keys: list[dict[str, str]], shown: str, is_good: bool
) -> None:
    file = tmp_path / "keys.json"
    file.write_text(key_set(*keys))
    options = {"algorithms": ["ES256", "RS256"], "jwks_file": str(file)}
    async with guarded(connection_middleware=[use("jwt", options)]) as gateway:
        client = gateway.client(auth={"token": shown})
        if is_good:
            await client.connect()
        else:
            with pytest.raises(Refused):
                await client.connect()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'it is not a key set: {"keys": [...]}'),
        ("[]", 'it is not a key set: {"keys": [...]}'),
        ('{"keys": 1}', 'it is not a key set: {"keys": [...]}'),
        ('{"keys": [1]}', 'it is not a key set: {"keys": [...]}'),
        ("[" * 100_000, 'it is not a key set: {"keys": [...]}'),
        (key_set(), "it has no public key that verifies tokens"),
        (key_set({"kty": "oct", "k": "c2VjcmV0"}), "it has no public key that verifies tokens"),
        (key_set(FIRST.jwk(use="enc")), "it has no public key that verifies tokens"),
    ],
)
def test_a_file_that_is_no_key_set(fault: Fault, tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(text)
    assert fault("jwt", algorithms=["ES256"], jwks_file=str(file)) == (
        f"'builtin.jwt' could not be made: ValueError: {file}: {message}"
    )


def test_without_pyjwt_it_says_how_to_get_it(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_tokens", "_keys"):
        monkeypatch.delitem(sys.modules, f"gateway.builtin.{name}", raising=False)
        monkeypatch.delattr(gateway.builtin, name, raising=False)
    monkeypatch.setitem(sys.modules, "jwt", None)
    assert fault("jwt", **HS256) == (
        "'builtin.jwt' could not be made: ModuleNotFoundError: "
        "PyJWT and cryptography are needed: pip install 'sockgw[jwt]'"
    )


async def test_refusals_are_logged_once_a_second(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sockgw")
    clock = Clock()
    async with guarded(connection_middleware=[use("jwt", HS256)]) as gateway:
        gateway._server.engine.refused._clock = clock
        for later in (0.0, 0.1, 0.8, 0.1):
            clock.now += later
            with pytest.raises(Refused):
                await gateway.connect(auth={"token": "x"})
    why = "(token refused: DecodeError)"
    later = REFUSED.replace("127.0.0.1", "127.0.0.1 (2 more)")
    assert caplog.messages == [f"{REFUSED} {why}", f"{later} {why}"]
