"""The hooks for pre-commit, run by pre-commit from a repository that has them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.shipped import PROGRAMS, ROOT, checked, copied, parsed
from tests.gateway_files import write

pytestmark = pytest.mark.timeout(1200)
"""Seconds: sockgw and its packages are installed here, which a busy machine takes minutes for."""

HOOKS = ".pre-commit-hooks.yaml"
SHIPPED = [HOOKS, "gateway", "schema", "pyproject.toml", "README.md", "LICENSE"]

CONFIG = 'server: {cors_origins: "*"}\nnamespaces: {/: {routes: {say: chat.say}}}\n'


def committed(folder: Path) -> None:
    """Make a repository of a folder."""
    author = ("-c", "user.name=t", "-c", "user.email=t@localhost")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        subprocess.run(["git", *author, *command], cwd=folder, check=True)


def test_they_are_what_pre_commit_expects() -> None:
    checked("pre-commit", "validate-manifest", HOOKS)
    for hook in yaml.safe_load((ROOT / HOOKS).read_text()):
        assert parsed([*hook["entry"].split(), *hook["args"]]) in hook["id"]


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hooks")
    copied(SHIPPED, folder)
    committed(folder)
    return folder


def test_a_commit_with_a_mistake_is_stopped(hooks: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    file = write(folder, CONFIG, chat="async def say(ctx): return 1\n")
    committed(folder)
    ours = {"PRE_COMMIT_HOME": str(tmp_path / "home"), "NO_COLOR": "1", "PIP_NO_COMPILE": "1"}
    environ = {**os.environ, **ours}

    def run() -> str:
        done = subprocess.run(
            [PROGRAMS / "pre-commit", "try-repo", hooks, "--all-files"],
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    said = run()
    assert "Passed" in said, said
    assert "every web page may connect" in said
    file.write_text(CONFIG.replace("chat.say", "chat.sya"))
    assert "gateway.yaml:2:32: namespaces./.routes.say: no plugin 'chat.sya'" in run()
