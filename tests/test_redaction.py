"""What has the name of a secret is not shown."""

from __future__ import annotations

import json
import logging

import pytest

from gateway.daemon.log import set_up
from gateway.redaction import HIDDEN, is_secret_name, redacted


@pytest.mark.parametrize(
    "name",
    [
        *("token", "Token", "access_token", "accessToken", "csrf-token", "tokens", "user.token"),
        *("secret", "clientSecret", "password", "db_password", "passwd", "pwd", "jwt", "id_jwt"),
        *("authorization", "Authorization", "Proxy-Authorization", "cookie", "Set-Cookie"),
        *("api_key", "X-Api-Key", "apiKey", "apikey", "privateKey", "credentials"),
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["key", "keys", "monkey", "tokenizer", "user", "passage", "author", "cooking", "", "id"]
)
def test_names_of_other_things(name: str) -> None:
    assert not is_secret_name(name)


def test_secrets_are_hidden_wherever_they_are() -> None:
    value = {"a": [{"token": "t"}, ({"b": {"password": {"x": 1}}}, b"1")], "n": 1, 7: None}
    hidden = [{"token": HIDDEN}, ({"b": {"password": HIDDEN}}, b"1")]
    assert redacted(value) == {"a": hidden, "n": 1, 7: None}
    assert value["a"][0]["token"] == "t"  # type: ignore[index]


def test_what_contains_itself_ends() -> None:
    value: list[object] = []
    value.append(value)
    assert HIDDEN in str(redacted(value))


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_log_hides_them(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(form)  # type: ignore[arg-type]
    log = logging.getLogger("sockgw.plugin")
    log.info("auth %s of %s", {"token": "t-1", "name": "ann"}, ["x", {"pwd": "t-2"}])
    log.info("%(password)s %(name)s", {"password": "t-3", "name": "ann"})
    log.info("fields", extra={"token": "t-4", "order": {"cookie": "t-5", "key": "shown"}})
    written = capsys.readouterr().err
    assert "t-" not in written
    assert "'token': '***', 'name': 'ann'" in written
    assert "*** ann" in written
    if form == "json":
        entry = json.loads(written.splitlines()[2])
        assert (entry["token"], entry["order"]) == ("***", {"cookie": "***", "key": "shown"})
