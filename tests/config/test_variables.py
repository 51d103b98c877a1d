from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from gateway.config import load
from gateway.config.files import FileReader
from gateway.config.references import fill
from gateway.errors import ConfigError
from tests.gateway_files import write

ENVIRON = {"PORT": "7001", "EMPTY": "", "NESTED": "${PORT}"}


def told(text: str) -> tuple[str, tuple[str, ...]]:
    """The text filled in, and what is wrong."""
    filled = fill(text, ENVIRON, Path(), FileReader())
    return filled.text, filled.wrong


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("no variable", "no variable"),
        ("${PORT}", "7001"),
        ("a${PORT}b${PORT}", "a7001b7001"),
        ("${EMPTY}", ""),
        ("${PORT:-80}", "7001"),
        ("${NO:-80}", "80"),
        ("${NO:-}", ""),
        ("${EMPTY:-80}", "80"),
        ("${NO:-a:-b ? $ \n{}", "a:-b ? $ \n{"),
        ("${PORT:?say which}", "7001"),
        ("$${PORT}", "${PORT}"),
        ("$$${PORT}", "$${PORT}"),
        ("$PORT $ { } $$", "$PORT $ { } $$"),
        ("${NESTED}", "${PORT}"),
    ],
)
def test_a_variable_is_filled_in(text: str, filled: str) -> None:
    assert told(text) == (filled, ())


FORMS = "write ${VAR}, ${VAR:-default}, ${VAR:?message} or ${file:PATH}, and $${ for a literal ${"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "${NO}",
            "environment variable 'NO' is not set; write ${NO:-default} to give a default",
        ),
        ("${NO:?say  \n which}", "environment variable 'NO' is not set: say which"),
        ("${EMPTY:?say which}", "environment variable 'EMPTY' is empty: say which"),
        (
            "${EMPTY:?}",
            "environment variable 'EMPTY' is empty; write ${EMPTY:-default} to give a default",
        ),
        *(
            (text, f"{text!r} is no reference; {FORMS}")
            for text in ("${", "${}", "${PORT", "${1}", "${PORT-80}", "${ PORT }", "${PORT:80}")
        ),
    ],
)
def test_what_cannot_be_filled_in_is_told(text: str, message: str) -> None:
    assert told(text) == (text, (message,))


def test_variables_do_not_nest() -> None:
    filled, wrong = told("${NO:-${PORT}}")
    assert filled == "${NO:-${PORT}}"
    assert wrong == (f"'${{NO:-${{PORT}}' is no reference; {FORMS}",)


def test_every_variable_that_is_missing_is_told() -> None:
    _, wrong = told("${A} ${PORT} ${B}")
    assert [message.split("'")[1] for message in wrong] == ["A", "B"]


@pytest.mark.parametrize("quote", ['"', "'"])
def test_references_in_quotes_are_what_is_due_at_their_place(tmp_path: Path, quote: str) -> None:
    config = """
        server: {port: "${PORT:-3210}", host: "${HOST}", compression: "${PACK}",
          ping_timeout: "${S}"}
        limits: {sockets: "${MOST:-unlimited}", attachments: "${S}", overload_after: "${S}${MS}"}
        services: {store: {use: store.Store, with: {size: "${S}", debug: "${PACK}"}}}
        namespaces: {/: {routes: {say: {use: chat.say, timeout: "${S}"}}}}
    """
    file = write(tmp_path, config.replace('"', quote))
    found = load(file, {"PACK": "true", "HOST": "127", "S": "7", "MS": "50ms"})
    assert (found.server.port, found.server.compression) == (3210, True)
    assert (found.server.host, found.server.ping_timeout) == ("127", 7.0)
    assert (found.limits.sockets, found.limits.attachments) == (inf, 7)
    assert found.limits.overload_after == 0.75
    assert found.services["store"].options == {"size": "7", "debug": "true"}
    assert found.namespaces["/"].routes["say"].timeout == 7.0


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ('"${PORT}"', "expected a port from 0 to 65535, got ***"),
        ('"7${DIGITS}"', "expected a port from 0 to 65535, got ***; leave out the quotes"),
        ('"7001"', "expected a port from 0 to 65535, got '7001'; leave out the quotes"),
        ('"${file:port}"', "expected a port from 0 to 65535, got ***; leave out the quotes"),
    ],
)
def test_other_text_in_quotes_stays_text(tmp_path: Path, written: str, message: str) -> None:
    (tmp_path / "port").write_text("7001")
    file = write(tmp_path, f"server: {{port: {written}}}\nnamespaces: {{/: }}\n")
    with pytest.raises(ConfigError) as caught:
        load(file, {"PORT": "a lot", "DIGITS": "001"})
    assert str(caught.value) == f"{file}:1:16: server.port: {message}"
