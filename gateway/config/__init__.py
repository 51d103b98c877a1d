"""Text to frozen config. Knows files, YAML and the schema; knows no plugins and no event loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from gateway.config import rules, schema
from gateway.config.build import build
from gateway.config.include import Document, read
from gateway.config.model import (
    AdminConfig,
    At,
    GatewayConfig,
    NamespaceConfig,
    ReloadConfig,
    RouteConfig,
    ServerConfig,
    TlsConfig,
    Use,
)
from gateway.config.rules import is_loopback
from gateway.config.secrets import Secrets, is_secret
from gateway.config.words import HIDDEN, with_slash
from gateway.errors import ConfigError, Place, Problem

__all__ = [
    "HIDDEN",
    "AdminConfig",
    "At",
    "Document",
    "GatewayConfig",
    "NamespaceConfig",
    "ReloadConfig",
    "RouteConfig",
    "Secrets",
    "ServerConfig",
    "TlsConfig",
    "Use",
    "find_place",
    "find_sources",
    "is_loopback",
    "is_secret",
    "load",
    "read",
    "with_slash",
]


def load(path: Path, environ: Mapping[str, str], beside: Path | None = None) -> GatewayConfig:
    """Read a gateway.yaml and what it includes; `environ` fills in the variables.

    Files that values refer to are relative to the folder `beside`, by default that of `path`.
    Raises `ConfigError` with every problem there is. Places name the files as `path` does.
    """
    document = read(path, environ, beside)
    problems = [*document.problems]
    # What could not be read is wanting, and what has a problem already needs no second one.
    known = {problem.path for problem in problems} | ({""} if problems else set())
    found = [*schema.problems(document), *rules.problems(document)]
    problems += (problem for problem in found if problem.path not in known)
    if problems:
        raise ConfigError(_distinct(problems))
    return build(path, document)


def find_sources(path: Path, environ: Mapping[str, str]) -> tuple[tuple[Path, str], ...]:
    """What a gateway.yaml is read from: each a folder and a glob in it, itself the first.

    Files that values refer to are among it. Also of a file that cannot be used, as far as it
    tells. Raises nothing.
    """
    return read(path, environ).sought


def find_place(path: Path, environ: Mapping[str, str], *keys: str) -> At:
    """Where the value under `keys` stands, or the innermost block around it. Raises nothing."""
    return read(path, environ).around(*keys)


def _distinct(problems: Iterable[Problem]) -> Iterable[Problem]:
    """Each mistake once, though aliases may repeat it at many paths."""
    first: dict[tuple[Place, str], Problem] = {}
    for problem in sorted(problems):
        first.setdefault((problem.place, problem.message), problem)
    return first.values()
