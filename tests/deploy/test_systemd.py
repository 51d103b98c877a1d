"""The units of deploy/systemd: checked by systemd where it is installed, and against the code."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from gateway.cli.common import BAD_CONFIG
from gateway.config.build import seconds
from tests.deploy.shipped import DEPLOY, LONGEST_STOP, PROGRAMS, parsed

FOLDER = DEPLOY / "systemd"
PROGRAM = "/opt/sockgw/bin/sockgw"
ANALYZE = shutil.which("systemd-analyze")


def settings(unit: str) -> dict[str, list[str]]:
    """The settings of a unit with all their values, by `Section.Key`."""
    found: dict[str, list[str]] = defaultdict(list)
    section = ""
    for line in (FOLDER / unit).read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, line
            found[f"{section}.{key}"].append(value)
    return found


SERVICE = settings("sockgw.service")


@pytest.mark.parametrize("key", ["ExecStart", "ExecReload"])
def test_its_commands_are_those_of_sockgw(key: str) -> None:
    [command] = SERVICE[f"Service.{key}"]
    assert command.startswith(f"{PROGRAM} ")
    assert parsed(command) == {"ExecStart": "run", "ExecReload": "reload"}[key]
    assert "/etc/sockgw/gateway.yaml" in command


def test_a_stop_ends_before_systemd_ends_it() -> None:
    assert seconds(SERVICE["Service.TimeoutStopSec"][0]) > LONGEST_STOP


def test_files_that_are_refused_do_not_start_it_again_and_again() -> None:
    assert SERVICE["Service.RestartPreventExitStatus"] == [str(BAD_CONFIG)]


def test_its_folders_are_those_that_the_daemon_uses() -> None:
    """`$XDG_STATE_HOME/sockgw` is StateDirectory=."""
    assert SERVICE["Service.Environment"] == ["XDG_STATE_HOME=%S"]
    names = {SERVICE[f"Service.{each}Directory"][0] for each in ("State", "Runtime")}
    assert names == {"sockgw"}
    text = (FOLDER / "sockgw.service").read_text()
    assert re.findall(r"admin: \{socket: (\S+)\}", text) == ["/run/sockgw/admin.sock"]


def test_the_socket_unit_passes_one_socket_for_clients() -> None:
    socket = settings("sockgw.socket")
    assert socket["Socket.ListenStream"] == ["7001"]
    assert "Socket.FileDescriptorName" not in socket


@pytest.fixture
def installed(tmp_path: Path) -> list[Path]:
    """The units, with a program that is there."""
    for unit in ("sockgw.service", "sockgw.socket"):
        text = (FOLDER / unit).read_text().replace(PROGRAM, str(PROGRAMS / "sockgw"))
        (tmp_path / unit).write_text(text)
    return sorted(tmp_path.iterdir())


@pytest.mark.parametrize("program", [ANALYZE] if ANALYZE else [])
def test_systemd_finds_nothing_wrong(program: str, installed: list[Path]) -> None:
    done = subprocess.run(
        [program, "verify", "--man=no", *installed], capture_output=True, text=True, check=False
    )
    # It also tells of other units that this machine has.
    assert [line for line in done.stderr.splitlines() if "sockgw" in line] == []


@pytest.mark.parametrize("program", [ANALYZE] if ANALYZE else [])
def test_systemd_calls_it_hardened(program: str, installed: list[Path]) -> None:
    """Of 10 for a unit without any hardening; the network alone is half a point."""
    done = subprocess.run(
        [program, "security", "--offline=true", "--threshold=15", "--no-pager", installed[0]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.splitlines()[-1] + done.stderr
