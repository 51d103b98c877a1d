from __future__ import annotations

import pytest

from tests.cli.invoke import invoke

SHELLS = {
    "bash": "~/.local/share/bash-completion/completions/sockgw",
    "zsh": '"${fpath[1]}/_sockgw"',
    "fish": "~/.config/fish/completions/sockgw.fish",
}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_calls_sockgw_and_says_where_to_put_it(shell: str) -> None:
    script = invoke("completion", shell).stdout
    assert f"_SOCKGW_COMPLETE={shell}_complete" in script
    assert script.splitlines()[-1] == (f"# Install it: sockgw completion {shell} > {SHELLS[shell]}")


def test_zsh_finds_its_mark_in_the_first_line() -> None:
    assert invoke("completion", "zsh").stdout.startswith("#compdef sockgw\n")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("sockgw r", ["plain,run", "plain,routes", "plain,reload"]),
        ("sockgw check --format ", ["plain,text", "plain,json", "plain,github"]),
        ("sockgw audit --fail-on m", ["plain,medium"]),
        ("sockgw h", ["plain,healthcheck"]),
        ("sockgw run --log-format ", ["plain,text", "plain,json"]),
        ("sockgw new m", ["plain,middleware"]),
        ("sockgw run ", ["file,"]),
    ],
)
def test_a_shell_is_offered_what_fits(words: str, offered: list[str]) -> None:
    """As the script asks: with the line so far in the environment."""
    count = str(len(words.split()) - (not words.endswith(" ")))
    asked = {"_SOCKGW_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": count}
    assert invoke(**asked).stdout.split() == offered
