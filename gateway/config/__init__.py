"""Text to frozen config. Knows files, YAML and the schema; knows no plugins and no event loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from gateway.config import rules, schema
from gateway.config.build import build
from gateway.config.include import read
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
from gateway.errors import ConfigError, Place, Problem

__all__ = [
    "AdminConfig",
    "At",
    "GatewayConfig",
    "NamespaceConfig",
    "ReloadConfig",
    "RouteConfig",
    "ServerConfig",
    "TlsConfig",
    "Use",
    "load",
]


def load(path: Path, environ: Mapping[str, str]) -> GatewayConfig:
    """Read a gateway.yaml and what it includes; `environ` fills in the variables.

    Raises `ConfigError` with every problem there is. Places name the files as `path` does.
    """
    document = read(path, environ)
    problems = [*document.problems]
    # What could not be read is wanting, and what has a problem already needs no second one.
    known = {problem.path for problem in problems} | ({""} if problems else set())
    found = [*schema.problems(document), *rules.problems(document)]
    problems += (problem for problem in found if problem.path not in known)
    if problems:
        raise ConfigError(_distinct(problems))
    return build(path, document)


def _distinct(problems: Iterable[Problem]) -> Iterable[Problem]:
    """Each mistake once, though aliases may repeat it at many paths."""
    first: dict[tuple[Place, str], Problem] = {}
    for problem in sorted(problems):
        first.setdefault((problem.place, problem.message), problem)
    return first.values()
