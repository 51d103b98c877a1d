"""What the tests of the configuration share: an environment, and a file to load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from gateway.config import GatewayConfig, load
from gateway.errors import ConfigError

Load = Callable[[str], GatewayConfig]
Refuse = Callable[[str], list[str]]


@pytest.fixture
def environ() -> Mapping[str, str]:
    return {"PORT": "7001", "EMPTY": "", "WORD": "soon", "LIST": "[auth, filter]"}


@pytest.fixture
def load_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: Mapping[str, str]) -> Load:
    """Loads text as the gateway.yaml of an empty folder, the working directory."""
    monkeypatch.chdir(tmp_path)

    def load_text(text: str) -> GatewayConfig:
        file = Path("gateway.yaml")
        file.write_text(text)
        return load(file, environ)

    return load_text


@pytest.fixture
def refused(load_text: Load) -> Refuse:
    """The problems of a text, one line each."""

    def refused(text: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load_text(text)
        return [str(problem) for problem in caught.value.problems]

    return refused
