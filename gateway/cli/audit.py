"""`sockgw audit`: finds insecure settings."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Literal

import click

from gateway.cli.common import (
    BAD_CONFIG,
    advising,
    counted,
    file_argument,
    format_option,
    show_json,
    show_problems,
)
from gateway.config import load, read
from gateway.config.audit import SEVERITIES, Finding, Severity
from gateway.config.audit import audit as find
from gateway.errors import ConfigError

__all__ = ["audit"]

_COLOURS = {"high": "red", "medium": "yellow", "low": "cyan"}


@click.command(short_help="Check FILE for insecure settings.")
@file_argument
@click.option(
    "--fail-on",
    type=click.Choice([*SEVERITIES, "never"]),
    default="high",
    show_default=True,
    help="The lowest severity that makes it exit with 1.",
)
@format_option()
@click.option("--json", "as_json", is_flag=True, hidden=True, help="The same as --format json.")
def audit(file: Path, fail_on: Severity | Literal["never"], format: str, as_json: bool) -> None:
    """Check FILE for insecure settings: origins, authentication, secrets, permissions.

    Each finding has its severity, its place and a fix. No plugin is run. Exits with 0, with 1 if
    a finding is at least as severe as --fail-on, and with 78 if `check` would report problems.
    """
    form = "json" if as_json else format
    try:
        with advising(file):
            config = load(file, os.environ)
        findings = find(config, read(file, os.environ))
    except ConfigError as error:
        show_problems(error, form)
        raise SystemExit(BAD_CONFIG) from None
    if form == "json":
        show_json({"findings": [_entry(each) for each in findings]})
    else:
        _show(findings)
    failing = () if fail_on == "never" else SEVERITIES[: SEVERITIES.index(fail_on) + 1]
    if any(each.severity in failing for each in findings):
        raise SystemExit(1)


def _show(findings: tuple[Finding, ...]) -> None:
    for each in findings:
        place = click.style(str(each.at.place), bold=True)
        severity = click.style(each.severity, fg=_COLOURS[each.severity])
        path = f"{each.at.path}: " if each.at.path else ""
        click.echo(f"{place}: {severity}: {path}{each.message}; {each.remedy}")
    counts = Counter(each.severity for each in findings)
    summary = ", ".join(f"{counts[each]} {each}" for each in SEVERITIES if counts[each])
    click.echo(f"{counted(len(findings), 'finding')}: {summary}" if summary else "no findings")


def _entry(finding: Finding) -> dict[str, object]:
    place = finding.at.place
    return {
        "severity": finding.severity,
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "path": finding.at.path,
        "message": finding.message,
        "fix": finding.remedy,
    }
