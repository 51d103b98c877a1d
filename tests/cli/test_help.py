from __future__ import annotations

from pathlib import Path

import click
import pytest

from gateway.cli import main
from gateway.cli.push import push
from tests.cli.invoke import invoke

HELP = Path(__file__).parent / "help"
VERBS = list(main.commands)
PARTS = [f"push {name}" for name in push.commands]


@pytest.mark.parametrize("verb", ["", *VERBS, *PARTS])
def test_help_is_as_it_was_read_last(verb: str) -> None:
    """For a new text: delete the file, run the test, and read what it has written."""
    shown = invoke(*verb.split(), "--help")
    assert (shown.exit_code, shown.stderr) == (0, "")
    file = HELP / f"{verb.replace(' ', '-') or 'sockgw'}.txt"
    if not file.exists():
        file.write_text(shown.stdout)
        pytest.fail(f"{file} was missing and is written now")
    assert shown.stdout == file.read_text()


def test_there_are_no_texts_of_verbs_that_are_gone() -> None:
    assert {file.stem for file in HELP.iterdir()} == {
        "sockgw",
        *VERBS,
        *(part.replace(" ", "-") for part in PARTS),
    }


@pytest.mark.parametrize("verb", VERBS)
def test_help_ends_with_an_example_that_can_be_typed(verb: str) -> None:
    *_, title, example = invoke(verb, "--help").stdout.splitlines()
    assert title == "  Example:"
    command, _, line = example.strip().partition(" ")
    assert (command, line.split()[0]) == ("sockgw", verb)


def test_every_option_says_what_it_does() -> None:
    silent = [
        f"{verb} {option.opts}"
        for verb, command in [*main.commands.items(), *push.commands.items()]
        for option in command.params
        if isinstance(option, click.Option) and not option.help
    ]
    assert silent == []


def test_an_unknown_verb_is_answered_with_a_known_one() -> None:
    result = invoke("rotes")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        "Error: No such command 'rotes'. Did you mean 'routes'?"
    )


def test_the_version_is_told() -> None:
    assert invoke("--version").stdout.startswith("sockgw, version ")
