"""action.yml: checked by GitHub's schema, and its steps run by the shell that it names."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.shipped import PROGRAMS, ROOT, checked
from tests.gateway_files import write

pytestmark = pytest.mark.timeout(1200)
"""Seconds: sockgw and its packages are installed here, which a busy machine takes minutes for."""

ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
BASH = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]
"""What GitHub runs for `shell: bash`."""


def test_it_is_what_github_expects() -> None:
    checked("check-jsonschema", "--builtin-schema", "vendor.github-actions", "action.yml")


def test_no_input_is_a_part_of_a_script() -> None:
    """Whoever opens a pull request could write shell there."""
    steps = ACTION["runs"]["steps"]
    assert all(step["shell"] == "bash" and "${{" not in step["run"] for step in steps)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a runner on which the first step is done."""
    temp = tmp_path_factory.mktemp("runner")
    environ = {
        **os.environ,
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "PIP_NO_COMPILE": "1",
        "RUNNER_TEMP": str(temp),
        "GITHUB_ACTION_PATH": str(ROOT),
    }
    requirements = temp / "requirements.txt"
    requirements.write_text("msgpack\n")
    assert step(0, temp, environ, requirements=requirements.name) == (0, "")
    return environ


def step(number: int, folder: Path, environ: dict[str, str], **inputs: str) -> tuple[int, str]:
    """Run a step with these inputs; gives its exit code and what it has written to stdout."""
    given = {name: each["default"] for name, each in ACTION["inputs"].items()} | inputs
    step = ACTION["runs"]["steps"][number]

    def filled(text: str) -> str:
        return re.sub(r"\$\{\{ inputs\.(\S+) \}\}", lambda found: given[found[1]], text)

    done = subprocess.run(
        [*BASH, "-c", step["run"]],
        cwd=folder,
        env={**environ, **{name: filled(value) for name, value in step["env"].items()}},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


GOOD = "namespaces: {/: {connection_middleware: [auth], routes: {say: chat.say}}}\n"
AUTH = "import msgpack\nasync def auth(ctx, next): await next()\n"
CHAT = "async def say(ctx): return 1\n"


def test_it_checks_and_audits(runner: dict[str, str], tmp_path: Path) -> None:
    file = write(tmp_path, GOOD, auth=AUTH, chat=CHAT)
    file.rename(tmp_path / "my gateway.yaml")
    assert step(1, tmp_path, runner, file="my gateway.yaml") == (0, "")
    assert step(2, tmp_path, runner, file="my gateway.yaml") == (0, "no findings\n")


def test_it_annotates_what_is_wrong(runner: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("chat.say", "chat.sya"), auth=AUTH, chat=CHAT)
    said = (
        "::error file=gateway.yaml,line=1,col=63::namespaces./.routes.say: no plugin 'chat.sya', "
        "did you mean 'chat.say'?\n"
    )
    assert step(1, tmp_path, runner) == (78, said)


@pytest.mark.parametrize(("strict", "status"), [("false", 0), ("true", 78)])
def test_warnings_fail_on_request(
    runner: dict[str, str], tmp_path: Path, strict: str, status: int
) -> None:
    write(tmp_path, GOOD.replace("say: chat.say", "connection: chat.say"), auth=AUTH, chat=CHAT)
    found, said = step(1, tmp_path, runner, strict=strict)
    assert found == status
    assert said.startswith("::warning file=gateway.yaml,line=1,")


@pytest.mark.parametrize(("least", "status"), [("high", 1), ("never", 0)])
def test_insecure_settings_fail(
    runner: dict[str, str], tmp_path: Path, least: str, status: int
) -> None:
    write(tmp_path, GOOD + 'server: {cors_origins: "*"}\n', auth=AUTH, chat=CHAT)
    found, said = step(2, tmp_path, runner, audit=least)
    assert found == status
    assert "server.cors_origins" in said
