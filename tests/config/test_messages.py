from __future__ import annotations

import pytest

from gateway.config.messages import choice, dotted, expected, guess, shown


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "nothing"),
        (True, "true"),
        (False, "false"),
        (7001, "7001"),
        (2.5, "2.5"),
        ("soon", "'soon'"),
        ("a\nb", r"'a\nb'"),
        ("x" * 50, "'" + "x" * 40 + "...'"),
        ({}, "an empty mapping"),
        ({"a": 1}, "a mapping"),
        ([], "an empty list"),
        ([1], "a list"),
    ],
)
def test_a_value_is_shown_as_yaml_has_it(value: object, words: str) -> None:
    assert shown(value) == words


def test_a_choice_is_a_phrase() -> None:
    assert choice(["a"]) == "a"
    assert choice(["a", "b"]) == "a or b"
    assert choice(["a", "b", "c"], "and") == "a, b and c"


def test_a_near_word_is_guessed() -> None:
    assert guess("prot", ["host", "port"]) == ", did you mean 'port'?"


def test_known_words_are_listed_when_none_is_near() -> None:
    assert guess("xyzzy", ["port", "host"]) == "; known: host and port"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ((), ""),
        (("server", "port"), "server.port"),
        (
            ("namespaces", "/", "packet_middleware", 0, "use"),
            "namespaces./.packet_middleware[0].use",
        ),
        (("routes", "chat:send"), "routes.chat:send"),
        (("routes", "chat.send"), "routes.'chat.send'"),
        (("routes", "a b\n"), r"routes.'a b\n'"),
        (("routes", ""), "routes.''"),
        (("routes", "\ud800"), r"routes.'\ud800'"),
    ],
)
def test_a_path_is_one_readable_word(path: tuple[str | int, ...], words: str) -> None:
    assert dotted(path) == words


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"type": "boolean"}, "write true or false"),
        ({"type": "string"}, "expected text"),
        ({"type": "number"}, "expected a number"),
        ({"type": "integer"}, "expected a whole number"),
        ({"type": ["array", "null"]}, "expected a list"),
        ({"type": "object"}, "expected a mapping"),
        ({"enum": ["serial", "concurrent"]}, "expected serial or concurrent"),
        ({"type": "string", "errorMessage": "expected a host"}, "expected a host"),
    ],
)
def test_the_schema_says_what_it_expects(rule: dict[str, object], words: str) -> None:
    assert expected(rule) == words
