"""YAML text to a frozen config. Knows files and the schema, but no plugins and no event loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from gateway.config import backends, checks, schema
from gateway.config.build import build
from gateway.config.checks import is_loopback
from gateway.config.files import FileRecord, is_special
from gateway.config.include import Document, read
from gateway.config.messages import HIDDEN, with_slash
from gateway.config.model import (
    AdminConfig,
    At,
    BackendConfig,
    GatewayConfig,
    LogConfig,
    NamespaceConfig,
    ReloadConfig,
    RouteConfig,
    ServerConfig,
    SessionsConfig,
    SpoolConfig,
    StaticFolder,
    TlsConfig,
    Use,
)
from gateway.config.partial import lacks_files, sound_part
from gateway.config.secrets import Secrets, is_secret
from gateway.config.tls import read_certificate, tls_faults
from gateway.errors import ConfigError, Place, Problem

__all__ = [
    "HIDDEN",
    "AdminConfig",
    "At",
    "BackendConfig",
    "Document",
    "FileRecord",
    "GatewayConfig",
    "LogConfig",
    "NamespaceConfig",
    "ReloadConfig",
    "RouteConfig",
    "Secrets",
    "ServerConfig",
    "SessionsConfig",
    "SpoolConfig",
    "StaticFolder",
    "TlsConfig",
    "Use",
    "distinct",
    "is_loopback",
    "is_secret",
    "is_special",
    "load",
    "read",
    "read_certificate",
    "tls_faults",
    "validate",
    "with_slash",
]


def load(path: Path, environ: Mapping[str, str], beside: Path | None = None) -> GatewayConfig:
    """Read a gateway.yaml and what it includes; `environ` fills in the variables.

    Files that values refer to are relative to the folder `beside`, by default that of `path`.
    Raises `ConfigError` with every problem there is. Places name the files as `path` does.
    """
    config, problems = validate(path, read(path, environ, beside))
    if problems or config is None:
        raise ConfigError(problems)
    return config


def validate(path: Path, document: Document) -> tuple[GatewayConfig | None, tuple[Problem, ...]]:
    """Turn the document that was read from `path` into the config, and return its problems.

    With problems, the config has what is left without them; `None` if that is too little to check.
    """
    document = schema.with_types(document)
    problems = [*document.problems]
    # A file that was not read leaves gaps; a value that has a problem needs no second one.
    known = {problem.path for problem in problems} | ({""} if problems else set())
    found = [*schema.problems(document), *checks.problems(document), *backends.problems(document)]
    problems += (problem for problem in found if problem.path not in known)
    sound = sound_part(document, problems) if problems else document
    config = build(path, sound) if sound else None
    if config and not lacks_files(document):
        config = replace(config, warnings=tuple(checks.warnings(document, config)))
    return config, tuple(distinct(problems))


def distinct(problems: Iterable[Problem]) -> Iterable[Problem]:
    """Keep each mistake once; aliases may repeat it at many paths."""
    first: dict[tuple[Place, str], Problem] = {}
    for problem in sorted(problems):
        first.setdefault((problem.place, problem.message), problem)
    return first.values()
