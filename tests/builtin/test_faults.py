"""What is wrong with the options of a built-in is a problem at its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.compiler import load
from gateway.errors import ConfigError
from tests.builtin.conftest import Fault
from tests.gateway_files import write

CASES = yaml.safe_load((Path(__file__).parent / "faults.yaml").read_text())


def test_a_problem_stands_at_the_option_of_its_built_in(tmp_path: Path) -> None:
    config = """
        namespaces:
          /:
            connection_middleware:
              - builtin.request_id
              - {use: builtin.ip_allow, with: {allow: ["10.0.0.1/8"]}}
              - {use: builtin.origin, with: {alow: []}}
    """
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, config), {})
    file = tmp_path / "gateway.yaml"
    path = "namespaces./.connection_middleware"
    assert str(caught.value).splitlines() == [
        (
            f"{file}:6:40: {path}[1].with.allow: 'builtin.ip_allow' could not be made: "
            "ValueError: option 'allow': 10.0.0.1/8 has host bits set"
        ),
        f"{file}:7:15: {path}[2].use: 'builtin.origin': missing option 'allow'",
        (
            f"{file}:7:38: {path}[2].with.alow: "
            "'builtin.origin': unknown option 'alow', did you mean 'allow'?"
        ),
    ]


def test_a_built_in_that_is_not_there_is_guessed(tmp_path: Path) -> None:
    config = "namespaces: {/: {packet_middleware: [builtin.ratelimit]}}"
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, config), {})
    [problem] = caught.value.problems
    assert problem.message == ("no plugin 'builtin.ratelimit', did you mean 'builtin.rate_limit'?")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_options_that_cannot_work(fault: Fault, case: dict[str, Any]) -> None:
    (name, options), (_, says) = case.items()
    assert fault(name, **options) == says
